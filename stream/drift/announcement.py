"""An alarm as the event that subscribers get."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from google.protobuf.json_format import MessageToDict

from protos.events_pb2 import DriftAction, DriftEvent, DriftSample, DriftWindow, Position, Severity
from state.arrays import I64
from state.evidence import Evidence, Inputs
from state.ring import Entries
from state.store import VersionId
from stream.drift.alarm import Raised
from stream.drift.decision import Verdict
from stream.drift.histograms import shift_of
from stream.drift.loss import LOG_LOSS, SQUARED_ERROR, Loss
from stream.drift.segments import compared, segment_of
from stream.drift.series import top_of
from stream.drift.share_alarm import ShareAlarm
from stream.drift.windows import WINDOW_EVENTS, Window, window_of
from stream.walk.values import COMPARED

SAMPLES = 20
"""Most events of the evidence that are sent along."""

SENTENCES: Mapping[str, str] = {
    "updates_do_harm": "the model is worse than version {version} with the same histories "
    "({loss} {live} against {frozen}): what was learnt since does harm; go back to that version",
    "everything_collapsed": "the model got worse, and {baseline_name} too ({loss} "
    "{live_before} -> {live}, {baseline_name} {baseline_before} -> {baseline}): {suspicion}; retrain from "
    "where it began",
    "taste_lost": "the model lost its lead over {baseline_name} ({loss} {live_before} -> {live}, "
    "{baseline_name} {baseline_before} -> {baseline}): events may be joined with the wrong users or items; "
    "retrain from where it began",
    "harder_to_predict": "everything became harder to predict ({loss} {live_before} -> {live}, "
    "{baseline_name} {baseline_before} -> {baseline}), and the model kept its lead: no cause to act",
}
"""By reason of a verdict."""

SUSPICION: Mapping[Loss, str] = {
    LOG_LOSS: "items may have got other ids",
    SQUARED_ERROR: "ratings may have come to mean something else",
}
"""What may have happened where everything collapsed."""

CONCENTRATED: Mapping[str, str] = {
    "item": "{share:.0%} of the latest events are about the item {name!r} ({before:.1%} before), of users "
    "who had it already or whom nothing draws to it: it is pushed, or a producer sends a default; go back to "
    "before that, without the events about it",
    "user": "{share:.0%} of the latest events are of the user {name!r} ({before:.1%} before), about what "
    "they had already or nothing draws them to: a program, or a producer sends a default; go back to before "
    "that, without the events of this user",
}
"""By what is concentrated."""


class Place(NamedTuple):
    """Where an alarm was raised: of which `model`, in which micro-batch.

    `topic` is that of interactions; `names` are ids of items by ordinals, `user_names` those of users.
    """

    model: str
    here: VersionId
    topic: str
    names: Callable[[I64], Sequence[bytes]]
    user_names: Callable[[I64], Sequence[bytes]]


def announce(
    raised: Raised, loss: Loss, evidence: Evidence, inputs: Inputs, frozen: VersionId | None, place: Place
) -> DriftEvent:
    """The event of an alarm about a loss; `frozen` is the version compared with."""
    verdict, since, end, reference = raised
    before = window_of("reference", reference)
    records = evidence.between(max(since, end - WINDOW_EVENTS), end)
    current = window_of("current", records)
    event = _event_of(verdict, place, current.last_ms, end)
    event.version = str(frozen or "")
    event.message = _sentence(verdict.reason, loss, before, current, frozen)
    known = inputs.latest()
    event.segment = segment_of(verdict.reason, compared(known, reference), compared(known, records))
    if event.segment:
        event.message += f"; it is so among {event.segment}, and not among others"
    event.windows.extend([*_windows(before), *_windows(current)])
    event.samples.extend(_samples(records, place))
    event.positions.extend(_beginnings(evidence.between(since, end), place.topic))
    return event


def announce_concentration(raised: Raised, of: str, inputs: Inputs, place: Place) -> DriftEvent:
    """The event of an alarm about an "item" or a "user" that takes too much."""
    verdict, since, end, reference = raised
    window = inputs.between(end - WINDOW_EVENTS, end)
    ordinal, events = top_of(window, of)
    [name] = (place.names if of == "item" else place.user_names)(np.array([ordinal], np.int64))
    records = inputs.between(since, end)
    taken = records[records[of] == ordinal]
    event = _event_of(verdict, place, int(taken["time_ms"].max()), end, of)
    event.message = CONCENTRATED[of].format(
        share=len(events) / len(window), before=(reference[of] == ordinal).mean(), name=name.decode()
    )
    event.segment = f"{of} {name.decode()}"
    event.positions.extend(_beginnings(taken, place.topic))
    return event


def announce_shift(raised: Raised, name: str, inputs: Inputs, place: Place) -> DriftEvent:
    """The event of an alarm about one of `histograms.QUANTITIES`."""
    verdict, since, end, reference = raised
    records = inputs.between(end - WINDOW_EVENTS, end)
    shift = shift_of(name, reference, records)
    medians = [_short(median) for median in (shift.median_before, shift.median)]
    event = _event_of(verdict, place, int(records["time_ms"].max()), end, name)
    event.message = (
        f"the latest events differ from those before in {name} (median {medians[0]} -> {medians[1]}, "
        f"stability index {shift.stability_index:.2f}, Jensen-Shannon distance {shift.distance:.2f}): see "
        "whether that was meant"
    )
    event.segment = name
    event.positions.extend(_beginnings(inputs.between(since, end), place.topic))
    return event


def announce_share(verdict: Verdict, alarm: ShareAlarm, time_ms: int, place: Place) -> DriftEvent:
    """The event of an alarm about a share of what comes in, the latest of it from this time."""
    event = _event_of(verdict, place, time_ms, 0, verdict.reason)
    event.message = alarm.sentence()
    for partition, offset in sorted(alarm.first.items()):
        event.positions.add(topic=place.topic, partition=partition, offset=offset)
    return event


def announce_rollback(
    model: str,
    topic: str,
    here: VersionId,
    time_ms: int,
    version: VersionId,
    learnt: Mapping[int, int],
    message: str,
) -> DriftEvent:
    """The event that a rollback to a version is done; `learnt`: its offsets of interactions by partition."""
    return DriftEvent(
        id=_identity(model, here, "rollback"),
        time_ms=time_ms,
        model=model,
        version=str(version),
        action=DriftAction.DRIFT_ACTION_NONE,
        severity=Severity.SEVERITY_WARNING,
        reason="rolled_back",
        message=message,
        detector="rollback",
        positions=[
            Position(topic=topic, partition=partition, offset=at) for partition, at in sorted(learnt.items())
        ],
    )


def action_of(event: DriftEvent) -> str:
    """In one word."""
    return DriftAction.Name(event.action).removeprefix("DRIFT_ACTION_")


def severity_of(event: DriftEvent) -> str:
    """In one word."""
    return Severity.Name(event.severity).removeprefix("SEVERITY_").lower()


def fields_of(event: DriftEvent) -> dict[str, object]:
    """As JSON has it, by the names in `protos/events.proto`."""
    return MessageToDict(event, preserving_proto_field_name=True)


def _event_of(verdict: Verdict, place: Place, time_ms: int, end: int, about: str = "") -> DriftEvent:
    """The event of a verdict on what was seen up to the `end`, without evidence.

    `about` tells apart what one detector has to say of the same records.
    """
    return DriftEvent(
        id=_identity(place.model, place.here, f"{verdict.detector}{about}/{end}"),
        time_ms=time_ms,
        model=place.model,
        action=verdict.action,  # type: ignore[arg-type]
        severity=verdict.severity,  # type: ignore[arg-type]
        reason=verdict.reason,
        detector=verdict.detector,
        p_value=verdict.p_value,
    )


def _identity(model: str, here: VersionId, of: str) -> str:
    """The same whenever the same micro-batch says the same: 32 hexadecimal digits."""
    identity = f"{model}/{here.generation}/{here.batch_seq}/{of}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _short(median: float | None) -> str:
    if median is None:
        return "none"
    return f"{median:,.0f}" if abs(median) >= 1_000 else f"{median:.3g}"


def _sentence(reason: str, loss: Loss, before: Window, current: Window, frozen: VersionId | None) -> str:
    means = {
        name + suffix: "?" if losses.loss is None else f"{losses.loss:.2f}"
        for window, suffix in ((before, "_before"), (current, ""))
        for name, losses in window.models.items()
    }
    words = {"loss": loss.name, "baseline_name": loss.baseline, "suspicion": SUSPICION[loss]}
    return SENTENCES[reason].format(version=frozen, **words, **means)


def _windows(window: Window) -> list[DriftWindow]:
    """One for each model that judged something."""
    return [
        DriftWindow(
            name=f"{window.name}/{model}",
            first_ms=window.first_ms,
            last_ms=window.last_ms,
            events=window.events,
            mean_loss=losses.loss,
            variance=losses.variance,
        )
        for model, losses in window.models.items()
        if losses.loss is not None
    ]


def _samples(records: Entries, place: Place) -> list[DriftSample]:
    """Some events, evenly from all of them."""
    chosen = records[np.unique(np.linspace(0, len(records) - 1, SAMPLES).astype(np.int64))]
    return [
        DriftSample(
            position=_position(record, place.topic),
            item_id=name.decode(),
            losses={
                model: float(loss)
                for model, loss in zip(COMPARED, record["losses"], strict=True)
                if not np.isnan(loss)
            },
        )
        for record, name in zip(chosen, place.names(chosen["item"].astype(np.int64)), strict=True)
    ]


def _beginnings(records: Entries, topic: str) -> list[Position]:
    """The first of each partition."""
    _, first = np.unique(records["partition"], return_index=True)
    return [_position(record, topic) for record in records[first]]


def _position(record: np.void, topic: str) -> Position:
    return Position(topic=topic, partition=int(record["partition"]), offset=int(record["offset"]))
