"""Where a rollback goes on from: which version, what is left out, and from where the log is read then."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from protos.events_pb2 import Command
from state.errors import RollbackRefusedError
from state.store import CONTROL_MEMO, Head, TopicPartition, Version, VersionId
from stream import exclusion
from stream.config import LearnerSettings
from stream.control import Control, Offsets, offsets_in
from stream.drift.telling import kept_in
from stream.lineage.bases import stored_log

RANGES_MAX = 1_000
"""Most ranges that are left out of what the log still has."""

Limits = Callable[[Sequence[TopicPartition]], Mapping[TopicPartition, tuple[int, int]]]
"""See `stream.source.Source.limits`."""

SKIP = "go back without learning again: name the version, without --replay, --exclude and --event"


@dataclass(frozen=True, slots=True)
class Onward:
    """What a rollback comes to.

    `control` is what is set then; `offsets` are those of interactions that are to be read from elsewhere than
    the present place. `replays`: what came after the version is learnt again, now or once learning resumes.
    """

    version: Version
    control: Control
    offsets: Mapping[TopicPartition, int]
    replays: bool
    message: str


def excluded_by(settings: LearnerSettings, head: Head, command: Command) -> exclusion.Ranges:
    """What a command excludes, as far as it has been read.

    Raises RollbackRefusedError where that has not, or where the drift event it means is not known.
    """
    topic, reached = settings.topics.interactions, _reached(settings, head)
    ranges = []
    for each in command.exclude:
        name = f"{each.topic}:{each.partition}:{each.first}-{each.next}"
        if each.topic != topic or each.partition not in reached:
            known = f"{topic}, partitions {min(reached, default=0)} to {max(reached, default=0)}"
            raise RollbackRefusedError(f"cannot exclude {name}: events are learnt from {known}")
        if not 0 <= each.first < each.next:
            raise RollbackRefusedError(
                f"cannot exclude {name}: the first offset must lie before the next one"
            )
        if each.next > reached[each.partition]:
            through = reached[each.partition]
            raise RollbackRefusedError(f"cannot exclude {name}: only offsets before {through} have been read")
        ranges.append((each.partition, each.first, each.next))
    if command.drift_event_id:
        began = _beginning(head, command.drift_event_id, topic)
        ranges += [(where, at, reached[where]) for where, at in began.items() if at < reached.get(where, 0)]
    return exclusion.joined({}, ranges)


def version_before(
    settings: LearnerSettings, head: Head, versions: Sequence[Version], excluded: exclusion.Ranges
) -> VersionId:
    """The newest version of this generation that has learnt nothing of what is excluded.

    Raises RollbackRefusedError where there is none.
    """
    topic = settings.topics.interactions
    for version in reversed(versions):
        learnt = offsets_in(topic, version.positions)
        if version.id.generation == head.generation and not _first_in(excluded, learnt):
            return version.id
    raise RollbackRefusedError(
        f"no version of generation {head.generation} is from before what is excluded: name one that "
        "`livefactor versions list` shows"
    )


def go_on(
    settings: LearnerSettings,
    head: Head,
    version: Version,
    then: Head,
    command: Command,
    excluded: exclusion.Ranges,
    limits: Limits,
) -> Onward:
    """Where to go on from the rows of a version, whose head was `then`.

    Without replay from where the log has been read to, unless the version has learnt more than that.

    Raises RollbackRefusedError where what came after the version cannot be learnt again.
    """
    control = Control.restore(head.memo.get(CONTROL_MEMO, b"")).unpause()
    topic, here = settings.topics.interactions, offsets_in(settings.topics.interactions, head.offsets)
    learnt, of_another_log = offsets_in(topic, then.offsets), _difference(head, version, then)
    message = f"went back to {version.id}"
    if not (command.replay or command.exclude or command.drift_event_id):
        ahead = {} if of_another_log else {at: n for at, n in learnt.items() if n > here.get(at, n)}
        return Onward(version, control, _places(topic, ahead), False, message)
    if of_another_log:
        raise RollbackRefusedError(f"{of_another_log}: {SKIP}")
    if settings.learning.freeze:
        raise RollbackRefusedError(
            "`learning.freeze` is set, so nothing can be learnt again: take it out of the learner's "
            f"settings, or {SKIP}"
        )
    lowest = {where.partition: low for where, (low, _) in limits(list(_places(topic, here))).items()}
    start = {partition: learnt.get(partition, lowest[partition]) for partition in here}
    if expired := {partition: at for partition, at in start.items() if at < lowest[partition]}:
        partition, at = min(expired.items())
        raise RollbackRefusedError(
            f"{topic} [{partition}] begins at {lowest[partition]:,}, and {version.id} has learnt up to "
            f"{at:,}: what came between is no longer in the log; take a newer version, or {SKIP}"
        )
    if learnt_of := _first_in(excluded, start):
        raise RollbackRefusedError(
            f"{version.id} has learnt {topic}:{learnt_of[0]} up to {start[learnt_of[0]]:,}, and with it some "
            "of what is excluded: take an older version"
        )
    every = exclusion.joined(exclusion.since(control.excluded, lowest), exclusion.each(excluded))
    if sum(map(len, every.values())) > RANGES_MAX:
        raise RollbackRefusedError(f"more than {RANGES_MAX:,} ranges would be excluded: join some of them")
    control = replace(control, excluded=every)
    passed = sum(max(_reached(settings, head)[partition] - at, 0) for partition, at in start.items())
    left_out = exclusion.length(exclusion.since(every, start))
    parts = f"{passed - left_out:,} records after it are learnt again, and {left_out:,} left out"
    if not control.learns:
        resume = "once `livefactor control resume --learn-missed` says so"
        missing = replace(control, missed_from=start)
        return Onward(version, missing, {}, True, f"{message}; {parts}, {resume}")
    control, there = replace(control, missed_from=start).learn_missed(here)
    return Onward(version, control, _places(topic, there), True, f"{message}; {parts}")


def _reached(settings: LearnerSettings, head: Head) -> Offsets:
    """Up to where interactions have been read, the furthest time."""
    here = offsets_in(settings.topics.interactions, head.offsets)
    seen = Control.restore(head.memo.get(CONTROL_MEMO, b"")).seen_through
    return {partition: max(at, seen.get(partition, 0)) for partition, at in here.items()}


def _beginning(head: Head, event_id: str, topic: str) -> Offsets:
    """Where a drift event says that it began."""
    event = next((each for each in kept_in(head.memo).events if each.id == event_id), None)
    if event is None:
        raise RollbackRefusedError(
            f"drift event {event_id!r} is not known: `livefactor drift list` shows the latest"
        )
    began = {each.partition: each.offset for each in event.positions if each.topic == topic}
    if not began:
        raise RollbackRefusedError(
            f"drift event {event_id} does not say where in the log it began: name what is to be left out"
        )
    return began


def _first_in(ranges: exclusion.Ranges, learnt: Offsets) -> tuple[int, int] | None:
    """The first range, as (partition, offset), that begins before what has been `learnt` of its partition."""
    begun = ((partition, known[0][0]) for partition, known in sorted(ranges.items()))
    return next(((partition, at) for partition, at in begun if at < learnt.get(partition, 0)), None)


def _difference(head: Head, version: Version, then: Head) -> str:
    """What makes offsets of a version mean nothing in the log that is learnt from, in words."""
    if version.imported:
        return f"{version.id} was imported, and its offsets are of another log"
    changes = stored_log(then).changes(stored_log(head))
    return f"{version.id} is of another log ({'; '.join(changes.values())})" if changes else ""


def _places(topic: str, offsets: Offsets) -> dict[TopicPartition, int]:
    return {TopicPartition(topic, partition): at for partition, at in offsets.items()}
