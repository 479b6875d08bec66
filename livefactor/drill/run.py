"""A drill: learner, windows, tests and decisions on a stream with a fault, beside an undisturbed twin."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import orjson

from livefactor.drill.faults import Row, plant
from livefactor.event_files import BadRow, read_events
from livefactor.file_layout import Layout
from livefactor.settings import Settings
from protos.events_pb2 import SEVERITY_ERROR, DriftEvent, Interaction
from state.arrays import F64
from state.errors import ConfigError, PublishError
from state.ring import Entries
from state.rocksdb.writer import RocksWriter
from stream.config import LearnerSettings
from stream.drift.announcement import action_of
from stream.drift.loss import LOSSES, Loss
from stream.engine import Engine
from stream.events import Records
from stream.lineage.bases import begin
from stream.lineage.fingerprint import fingerprint, learnt_settings
from stream.lineage.identity import identity
from stream.lineage.keeper import Keeper
from stream.source import LogIdentity
from stream.walk.values import COMPARED, LIVE

BATCH_EVENTS = 100
"""Events in one micro-batch: a service that is not behind gets few at a time."""

PERMANENT = ("permute-items",)
"""Faults that nobody takes back unless told otherwise; others last a tenth of the stream."""

SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """Which fault, and in which part of the stream, as fractions of it."""

    fault: str
    at: float = 0.5
    until: float | None = None
    seed: int = 1

    def part(self, events: int) -> slice:
        """The events concerned."""
        share = 1.0 if self.fault in PERMANENT else SHARE
        until = min(self.at + share, 1.0) if self.until is None else self.until
        return slice(round(self.at * events), round(until * events))


@dataclass(frozen=True, slots=True)
class Alarm:
    """A drift event, and the index of the event of the stream after whose micro-batch it was raised."""

    at: int
    event: DriftEvent


@dataclass(frozen=True, slots=True)
class Course:
    """What became of one stream: float64 [events, 3] of the models `COMPARED`, NaN where not compared."""

    loss: Loss
    losses: F64
    reciprocal_ranks: F64
    alarms: tuple[Alarm, ...]


class Facts(TypedDict):
    """What a drill says; see `docs/drift.md`."""

    fault: str
    at_event: int
    detected_event: int | None
    delay_events: int | None
    action: str | None
    reason: str | None
    recovered_event: int | None
    loss_area_vs_twin: float
    false_alarms: int
    events: int


def read_rows(path: Path, layout: Layout | None, limit: int | None) -> list[Row]:
    """The interactions of a file in time order. Raises PublishError for a file without any."""
    rows = [_row(event) for event in read_events(path, layout) if not isinstance(event, BadRow)]
    if not rows:
        raise PublishError(f"{path}: there is no interaction in it")
    return sorted(rows, key=lambda row: row.get("event_time_ms", 0))[:limit]


def run(
    rows: Sequence[Row],
    settings: Settings,
    plan: Plan,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[Course, Course]:
    """The courses of the stream with the fault and without; `advance` hears of how many events is known now.

    Raises ConfigError if nothing is compared with these settings.
    """
    planted = plant(rows, plan.fault, plan.part(len(rows)), plan.seed)
    disturbed = course_of(planted, settings, lambda done: advance(done // 2))
    twin = course_of(rows, settings, lambda done: advance((len(rows) + done) // 2))
    return disturbed, twin


def course_of(
    rows: Sequence[Row], settings: Settings, advance: Callable[[int], None] = lambda done: None
) -> Course:
    """What becomes of a stream; `advance` hears how many events have been learnt.

    Raises ConfigError if nothing is compared with these settings.
    """
    if not settings.drift.enabled:
        raise ConfigError("a drill needs [drift] enabled = true")
    with ExitStack() as stack:
        learner = stack.enter_context(closing(_Learner(settings, stack)))
        for first in range(0, len(rows), BATCH_EVENTS):
            learner.learn(rows[first : first + BATCH_EVENTS])
            advance(min(first + BATCH_EVENTS, len(rows)))
        return learner.course(len(rows))


def facts(plan: Plan, disturbed: Course, twin: Course) -> Facts:
    """What is reported of a drill.

    An alarm is an event of severity error: before the fault it is a false one, the first one after that is
    the detection. `loss_area_vs_twin` is the loss of the live model above that of its twin, summed over the
    events since then that both have judged: nats, or squared errors of ratings.
    """
    events = len(disturbed.losses)
    part = plan.part(events)
    nothing = plan.fault == "none"
    errors = [alarm for alarm in disturbed.alarms if alarm.event.severity == SEVERITY_ERROR]
    found = next((alarm for alarm in errors if alarm.at >= part.start and not nothing), None)
    more = disturbed.losses[part.start :, LIVE] - twin.losses[part.start :, LIVE]
    return Facts(
        fault=plan.fault,
        at_event=part.start,
        detected_event=found.at if found else None,
        delay_events=found.at - part.start if found else None,
        action=action_of(found.event) if found else None,
        reason=found.event.reason if found else None,
        recovered_event=None,
        loss_area_vs_twin=float(np.nansum(more)),
        false_alarms=sum(nothing or alarm.at < part.start for alarm in errors),
        events=events,
    )


class _Learner:
    """The service without Kafka: records in, drift events out, versions loaded as soon as they are kept."""

    def __init__(self, settings: LearnerSettings, stack: ExitStack) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="livefactor-drill-")))
        self._settings = settings.aside(directory)
        self._store = RocksWriter(self._settings.state, identity(self._settings))
        self._engine = Engine(self._settings, self._store)
        begin(self._engine, {}, fingerprint(self._settings), learnt_settings(self._settings), LogIdentity())
        self._keeper = Keeper(self._engine)
        self._compared: list[Entries] = []
        self._alarms: list[Alarm] = []
        self._done = 0

    def learn(self, rows: Sequence[Row]) -> None:
        """One micro-batch."""
        evidence = self._engine.model.evidence
        before = evidence.added
        report = self._engine.process([self._records(rows)])
        self._done += len(rows)
        self._compared.append(evidence.between(before, evidence.added))
        self._alarms += [Alarm(self._done - 1, event) for event in report.drift]
        self._keeper.advance(wait=True)

    def course(self, events: int) -> Course:
        """What there is to say of all of it."""
        compared = np.concatenate(self._compared)
        losses, ranks = np.full((2, events, len(COMPARED)), np.nan)
        losses[compared["offset"]] = compared["losses"]
        ranks[compared["offset"]] = compared["reciprocal_ranks"]
        loss = LOSSES[self._settings.learning.feedback]
        return Course(loss, losses, ranks, tuple(self._alarms))

    def close(self) -> None:
        """Give the directory back."""
        self._keeper.close()
        self._store.close()

    def _records(self, rows: Sequence[Row]) -> Records:
        values = [orjson.dumps(row) for row in rows]
        times_ms = np.array([row.get("event_time_ms", 0) for row in rows], np.int64)
        return Records.of_values(self._settings.topics.interactions, values, times_ms, self._done)


def _row(event: Interaction) -> Row:
    """Its fields as a JSON record has them."""
    return {field.name: value for field, value in event.ListFields()}
