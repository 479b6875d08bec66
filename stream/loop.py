"""The shell of the learner: the only place where the log, the store and the clock meet.

Each turn:

    1. send what is in the outbox, and forget what a broker has acknowledged
    2. poll records
    3. process them: one micro-batch, one atomic commit
    4. say how fresh the state is, and tell lag tools where it stands
    5. notice partitions that were added
    6. move a slice of changed rows from the journal to the row family
    7. keep a version when one is due, and compare with it once it has been loaded

A turn either happens whole or, after a crash, not at all: the log is then read again from the
offsets in the store.
"""

import time
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar

import structlog

from state.errors import (
    BrokerUnreachableError,
    PartitionsChangedError,
    SourceError,
    TransactionOpenError,
)
from state.store import TopicPartition, Writer
from stream.allocation import give_back
from stream.config import LearnerSettings
from stream.control import rollback_in
from stream.effects import Counts
from stream.engine import Engine, Report
from stream.events import Records, by_partition
from stream.intake.event_types import describe_doubtful
from stream.intake.wire import known_time_ms
from stream.learning import refusal
from stream.lineage.bases import begin, pass_over, stored_log
from stream.lineage.fingerprint import fingerprint, learnt_settings
from stream.lineage.keeper import Keeper
from stream.source import LogIdentity, Sink, Source, require_offset_in_log

HEARTBEAT_MS = 100
GROUP_COMMIT_MS = 1_000
REPORT_MS = 10_000
PROBLEM_MS = 2_000
WARNING_MS = 60_000
PARTITIONS_CHECK_MS = 5_000
BROKER_RETRY_S = 1.0
CLOCKS_APART_MS = 1_000
"""How far ahead of ours the clock of whoever stamped a record may be."""
OUTBOX_WAIT_MS = 100
HELD_WAIT_S = 30.0
"""How long `until_end` waits for transactions that hold back the rest."""

T = TypeVar("T")

log = structlog.get_logger("livefactor.learner")


@dataclass
class Pulse:
    """What is due when, in milliseconds of the monotonic clock."""

    due: dict[str, float] = field(default_factory=dict)

    def beats(self, name: str, interval_ms: float) -> bool:
        """Whether at least `interval_ms` passed since this last said yes."""
        now = time.monotonic() * 1000
        if now < self.due.get(name, 0.0):
            return False
        self.due[name] = now + interval_ms
        return True


class Loop:
    """One learner: a source, a sink and a store, until told to stop."""

    def __init__(
        self,
        settings: LearnerSettings,
        source: Source,
        sink: Sink,
        store: Writer,
        *,
        accept_partitions: bool = False,
        accept_topic: bool = False,
        app_version: str = "unknown",
    ) -> None:
        self._settings, self._source, self._sink, self._store = settings, source, sink, store
        self._accept_partitions, self._accept_topic = accept_partitions, accept_topic
        self._log = LogIdentity()
        self._pulse = Pulse()
        self._sent_through = 0
        self._in_flight = 0
        self._problem: str | None = None
        self._ends: Mapping[TopicPartition, int] = {}
        self._records, self._counts = 0, Counts()
        self._doubtful: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._learnt_since = time.monotonic()
        self.engine = Engine(settings, store, app_version)
        self._keeper = Keeper(self.engine)

    @property
    def problem(self) -> str | None:
        """What keeps it from learning, in words as they were logged; None when nothing does."""
        return self._problem

    def run(self, stop: Event, *, until_end: bool = False) -> None:
        """Learn until `stop` is set or, with `until_end`, until every partition has reached its present end.

        Ends with everything committed, synced and flushed, and the outbox empty unless stopped. Ends also,
        or does not begin, when a rollback is to be carried out.

        Raises TransactionOpenError if, with `until_end`, open transactions held back the rest of the log.
        """
        if self._is_to_go_back or not self._start(stop):
            return
        while not (stop.is_set() or self._is_to_go_back or (until_end and self._at_end())):
            self._turn(stop)
        self._finish(stop)
        if until_end and not stop.is_set() and not self._is_to_go_back:
            self._require_end()

    @property
    def _is_to_go_back(self) -> bool:
        return rollback_in(self._store.head()) is not None

    def _start(self, stop: Event) -> bool:
        """Find the partitions, check that state and log fit, and take up reading; False if stopped before."""
        partitions = self._reach(stop, self._source.partitions)
        if partitions is None:
            return False
        limits = self._reach(stop, lambda: self._source.limits(partitions))
        found = self._reach(stop, self._source.identity)
        if limits is None or found is None:
            return False
        known = stored_log(self._store.head())
        self._log = known.updated(found)
        if not self._accept_topic:
            known.require_same(found)
        changed = known.changes(found)
        positions = starting_positions(
            self._store.head().offsets,
            limits,
            accept_partitions=self._accept_partitions,
            anew=set(self._settings.topics.consumed) if "" in changed else set(changed),
        )
        self._ends = {partition: end for partition, (_, end) in limits.items()}
        self._mark_start(positions)
        self._keeper.compare()
        self._source.assign(positions)
        log.info(
            "learning",
            batch_seq=self._store.head().batch_seq,
            partitions=len(positions),
            users=self.engine.model.user_count,
            items=self.engine.model.item_count,
        )
        return True

    def _reach(self, stop: Event, ask: Callable[[], T]) -> T | None:
        """The broker's answer, waiting for the broker as long as it takes; None if stopped before."""
        while not stop.is_set():
            try:
                answer = ask()
            except BrokerUnreachableError as error:
                self._say(str(error))
                stop.wait(BROKER_RETRY_S)
            else:
                self._say(None)
                return answer
        return None

    def _mark_start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Record in the schedule where this run begins and what it runs with.

        Another fingerprint than the last run's begins a new base: the state as it is becomes a version,
        from which `state verify` can start.
        """
        settings = self._settings
        begin(self.engine, positions, fingerprint(settings), learnt_settings(settings), self._log)

    def _turn(self, stop: Event) -> None:
        self._deliver()
        if self._store.outbox_bytes > self._settings.state.outbox_bytes_max:
            reason = self._sink.problem() or "nothing is acknowledged"
            self._say(f"learning waits: the outbox holds {self._store.outbox_bytes:,} bytes and {reason}")
            stop.wait(OUTBOX_WAIT_MS / 1000)
            return
        learning = self._settings.learning
        polled = self._source.poll(learning.batch_records, learning.poll_timeout_ms)
        self._say(self._source.problem() or self._sink_problem())
        if polled and self._process(polled).rewound and not self._go_back(stop):
            return
        self._pass_over()
        self._tell(polled)
        if not stop.is_set() and self._pulse.beats("partitions", PARTITIONS_CHECK_MS):
            self._check_partitions()
        self._flush_when_due()
        if version := self._keeper.advance():
            frozen = self.engine.monitor.comparison.frozen
            log.info("comparing", version=str(version), items=len(frozen.interactions))

    def _process(self, polled: Sequence[Records]) -> Report:
        paused = self.engine.control.paused
        report = self.engine.process(polled)
        self._records += report.records
        self._counts += report.counts
        self._warn(report.counts)
        for event in report.drift:
            log.warning("drift", reason=event.reason, id=event.id, problem=event.message)
        if paused and not self.engine.control.paused:
            log.info("learning again", paused=paused)
        if self._pulse.beats("report", REPORT_MS):
            elapsed = time.monotonic() - self._learnt_since
            log.info(
                "progress",
                batch_seq=report.batch_seq,
                records_per_second=round(self._records / max(elapsed, 1e-9)),
                **self._counts.named(),
            )
            self._records, self._counts, self._learnt_since = 0, Counts(), time.monotonic()
        return report

    def _go_back(self, stop: Event) -> bool:
        """Read from where the state stands now, as far as the log still has it; False if stopped before."""
        offsets = self._store.head().offsets
        limits = self._reach(stop, lambda: self._source.limits(sorted(offsets)))
        if limits is None:
            return False
        expired = {where: limits[where][0] for where, at in offsets.items() if at < limits[where][0]}
        if expired:
            gone = sum(low - offsets[where] for where, low in expired.items())
            log.warning("not learnt", problem=f"{gone:,} of the missed records are no longer in the log")
            pass_over(self.engine, expired)
        self._source.assign(self._store.head().offsets)
        return True

    def _warn(self, counts: Counts) -> None:
        """Say, once in a while, what is learnt otherwise than its senders may have meant."""
        self._doubtful.update(counts.doubtful_types)
        self._refused.update(counts.refused)
        if self._doubtful and self._pulse.beats("doubtful", WARNING_MS):
            log.warning("taken for likes", problem=describe_doubtful(self._doubtful))
            self._doubtful.clear()
        if self._refused and self._pulse.beats("refused", WARNING_MS):
            log.warning("updates refused", problem="; ".join(refusal.describe(self._refused)))
            self._refused.clear()

    def _pass_over(self) -> None:
        """Follow the source past what is no record: everything before its positions was processed."""
        offsets = self._store.head().offsets
        passed = {
            where: position
            for where, position in self._source.positions().items()
            if position > offsets.get(where, 0)
        }
        if passed:
            pass_over(self.engine, passed)

    def _tell(self, polled: Sequence[Records]) -> None:
        if self._pulse.beats("heartbeat", HEARTBEAT_MS):
            self._store.heartbeat(self._applied_through(polled))
        if self._pulse.beats("group", GROUP_COMMIT_MS):
            self._source.commit(self._store.head().offsets)

    def _applied_through(self, polled: Sequence[Records]) -> dict[TopicPartition, int]:
        """Now for partitions with nothing left to poll, else the timestamp of the last record applied.

        It never goes back, for what was applied stays applied. A timestamp that cannot be true, or is ahead
        of our clock, says nothing.
        """
        now = int(time.time() * 1000)
        before = self._store.head().applied_through_ms
        told = {
            partition: known_time_ms(int(part.timestamps_ms[-1]))
            for records in polled
            for partition, part in by_partition(records)
        }
        last = {
            partition: max(before.get(partition, 0), min(time_ms, now - 1))
            for partition, time_ms in told.items()
            if 0 < time_ms <= now + CLOCKS_APART_MS
        }
        if self._source.problem():
            return last
        return last | {
            partition: now for partition, caught_up in self._source.caught_up().items() if caught_up
        }

    def _check_partitions(self) -> None:
        """Notice partitions that were added while learning, and topics that were created anew."""
        try:
            found = self._source.partitions()
            log_found = self._source.identity()
        except SourceError:
            return
        self._log.require_same(log_found)
        added = sorted(set(found) - set(self._store.head().offsets) - set(self._ends))
        if added:
            raise PartitionsChangedError(_partitions_message("more", added))

    def _deliver(self) -> None:
        """Send outbox records that were not sent yet; forget acknowledged ones."""
        self._forget(self._sink.poll())
        if self._in_flight == self._store.outbox_count:
            return
        for record_id, record in self._store.outbox(self._sent_through):
            if not self._sink.send(record_id, record):
                return
            self._sent_through = record_id
            self._in_flight += 1

    def _sink_problem(self) -> str | None:
        problem = self._sink.problem() if self._store.outbox_count else None
        return f"{self._store.outbox_count:,} outgoing records wait: {problem}" if problem else None

    def _forget(self, acknowledged: Sequence[int]) -> None:
        if acknowledged:
            self._store.acknowledge(acknowledged)
            self._in_flight -= len(acknowledged)

    def _flush_when_due(self) -> None:
        due = self._pulse.beats("flush", self._settings.state.flush_interval_ms) or self.engine.flush_is_due()
        if due and not self.engine.flushing:
            self.engine.begin_flush()
        if self.engine.flushing:
            self.engine.advance_flush()
            if not self.engine.flushing:
                give_back()

    def _at_end(self) -> bool:
        """Whether there is nothing left to do, or nothing but to wait for transactions to end."""
        held, waited_for_s = self._source.held(), time.monotonic() - HELD_WAIT_S
        return self._store.outbox_count == 0 and all(
            where in held and held[where].since_s < waited_for_s for where in self._not_reached()
        )

    def _not_reached(self) -> list[TopicPartition]:
        """Partitions whose end, as it was at the start, is not reached."""
        offsets = self._store.head().offsets
        return [where for where, end in self._ends.items() if offsets.get(where, 0) < end]

    def _require_end(self) -> None:
        held, now_s = self._source.held(), time.monotonic()
        held_back = [held[where].describe(where, now_s) for where in self._not_reached() if where in held]
        if held_back:
            raise TransactionOpenError(
                f"the end was not reached: {'; '.join(held_back)}; run this again then"
            )

    def _finish(self, stop: Event) -> None:
        self.engine.flush()
        while not (stop.is_set() or self._is_to_go_back) and self._store.outbox_count:
            self._deliver()
            self._forget(self._sink.flush(OUTBOX_WAIT_MS))
        self._store.heartbeat(self._applied_through(()))
        self._store.sync()
        self._source.commit(self._store.head().offsets)
        self._keeper.close()
        log.info("stopped", batch_seq=self._store.head().batch_seq, outbox=self._store.outbox_count)

    def _say(self, problem: str | None) -> None:
        """Log a problem when it appears, now and then while its words change, and when it is gone."""
        if problem == self._problem:
            return
        if problem is None:
            log.info("going on")
            self._pulse.due.pop("problem", None)
        elif self._pulse.beats("problem", PROBLEM_MS):
            log.warning("hindered", problem=problem)
        else:
            return
        self._problem = problem


def starting_positions(
    stored: Mapping[TopicPartition, int],
    limits: Mapping[TopicPartition, tuple[int, int]],
    *,
    accept_partitions: bool,
    anew: Container[str] = (),
) -> dict[TopicPartition, int]:
    """Where to read each partition from: the stored offset, or the start of what was never read.

    Of the topics `anew` nothing was.

    Raises PartitionsChangedError, OffsetExpiredError or OffsetAheadError if state and log do not fit.
    """
    gone, added = sorted(set(stored) - set(limits)), sorted(set(limits) - set(stored))
    if gone:
        raise PartitionsChangedError(_partitions_message("fewer", gone))
    if stored and added and not accept_partitions:
        raise PartitionsChangedError(_partitions_message("more", added))
    going_on = {partition: offset for partition, offset in stored.items() if partition.topic not in anew}
    for partition, offset in going_on.items():
        require_offset_in_log(partition, offset, limits[partition])
    return {partition: going_on.get(partition, low) for partition, (low, _) in limits.items()}


def _partitions_message(difference: str, partitions: Sequence[TopicPartition]) -> str:
    names = ", ".join(f"{topic} [{partition}]" for topic, partition in partitions)
    advice = (
        "keys move between partitions when their number changes; start once with --accept-partitions to go on"
        if difference == "more"
        else "the topic was recreated or renamed; restore it, or start anew with another `state.directory`"
    )
    return f"the log has {difference} partitions than the state knows ({names}): {advice}"
