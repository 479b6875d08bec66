"""Proof that the state is what the log says: learn it again as the schedule recorded, and compare digests."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from state.digest import digest
from state.errors import StoreCorruptError
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader
from state.rocksdb.versions import Versions
from state.rocksdb.writer import RocksWriter
from state.store import TopicPartition, Version
from stream.config import LearnerSettings
from stream.engine import BATCH, Engine
from stream.lineage.bases import PASS, START, begin, pass_over
from stream.lineage.fingerprint import fingerprint, learnt_settings
from stream.lineage.identity import identity
from stream.log_reader import Portions
from stream.source import LogIdentity, Source


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found.

    `agrees` is None when there was nothing to verify against. `spans` say in words what could not be verified
    and why. `first_difference` is the first micro-batch whose rows came out differently.
    """

    agrees: bool | None
    expected: str
    replayed: str | None
    batches: int
    first_difference: int | None
    spans: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Base:
    """A state from which the log can be learnt again: a version, or None for the empty one.

    `fingerprint` and `log` are those of the run which reached it, which goes on until another begins.
    """

    batch_seq: int
    positions: Mapping[TopicPartition, int]
    fingerprint: str | None
    log: LogIdentity
    version: Version | None


def verify(
    settings: LearnerSettings,
    source: Source,
    scratch: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verdict:
    """Learn again in `scratch`, from the oldest base that this program and the log still know.

    `progress` is told (micro-batches done, in all). A learner may run: the state as of the call is verified.
    """
    reader = RocksReader(settings.state.directory)
    versions = Versions(Directory(settings.state.directory))
    try:
        schedule = list(reader.schedule())
        expected = digest(reader)
        base, spans = _choose_base(settings, versions, reader.head().generation, schedule, source)
        if base is None:
            return Verdict(None, expected, None, 0, None, spans)
        after = [(seq, entry) for seq, entry in schedule if seq > base.batch_seq]
        replayed, difference = _learn_again(settings, source, scratch, versions, base, after, progress)
        return Verdict(replayed == expected, expected, replayed, len(after), difference, spans)
    finally:
        reader.close()


def _choose_base(
    settings: LearnerSettings,
    versions: Versions,
    generation: int,
    schedule: list[tuple[int, Mapping[str, Any]]],
    source: Source,
) -> tuple[Base | None, tuple[str, ...]]:
    """The oldest usable base, and in words why older ones are not."""
    current = fingerprint(settings)
    starts = {seq: entry for seq, entry in schedule if entry["kind"] == START}
    partitions = source.partitions()
    limits, log = source.limits(partitions), source.identity()

    def difference(of_run: str | None, log_of_run: LogIdentity) -> str:
        """What keeps a run from being repeated, in words; empty if nothing does."""
        changes = log_of_run.changes(log)
        if changes:
            return f"is of another log: {'; '.join(changes.values())}"
        return "is of a run with other settings, program or processor" if of_run != current else ""

    foreign = {seq: difference(entry["fingerprint"], _log(entry)) for seq, entry in starts.items()}
    spans: list[str] = []
    for base in _bases(versions, generation, starts):
        later = [seq for seq, words in foreign.items() if words and seq > base.batch_seq]
        going_on = "" if base.batch_seq + 1 in starts else difference(base.fingerprint, base.log)
        positions = _lowest_positions(base, schedule)
        expired = [tp for tp, offset in positions.items() if offset < limits.get(tp, (0, 0))[0]]
        missing = [tp for tp in positions if tp not in limits]
        if later:
            spans.append(f"from base {base.batch_seq}: micro-batch {max(later)} {foreign[max(later)]}")
        elif going_on:
            spans.append(f"from base {base.batch_seq}: micro-batch {base.batch_seq} {going_on}")
        elif missing:
            spans.append(f"from base {base.batch_seq}: {_name(missing[0])} no longer exists")
        elif expired:
            low = limits[expired[0]][0]
            spans.append(
                f"from base {base.batch_seq}: {_name(expired[0])} begins at {low}, and was learnt from "
                f"{positions[expired[0]]}"
            )
        elif not schedule or schedule[0][0] > base.batch_seq + 1:
            spans.append(f"from base {base.batch_seq}: its schedule is no longer kept")
        elif damage := _damage(versions, base):
            spans.append(f"from base {base.batch_seq}: {damage}")
        else:
            return base, tuple(spans)
    return None, tuple(spans) or ("the store has no base: it holds no schedule",)


def _log(start: Mapping[str, Any]) -> LogIdentity:
    return LogIdentity.restore(start.get("log", "").encode())


def _damage(versions: Versions, base: Base) -> str | None:
    """What is wrong with a base's files, in words."""
    try:
        if base.version is not None:
            versions.check(base.version)
    except StoreCorruptError as error:
        return str(error)
    return None


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic} [{partition.partition}]"


def _bases(versions: Versions, generation: int, starts: Mapping[int, Mapping[str, Any]]) -> Iterator[Base]:
    """The empty state, then every version of this generation, oldest first."""
    if 1 in starts:
        yield Base(0, _positions(starts[1]["positions"]), starts[1]["fingerprint"], _log(starts[1]), None)
    for version in (each for each in versions.all() if each.id.generation == generation):
        batch_seq = version.id.batch_seq
        began = max((seq for seq in starts if seq <= batch_seq), default=None)
        log = LogIdentity() if began is None else _log(starts[began])
        yield Base(batch_seq, version.positions, version.fingerprint, log, version)


def _all_positions(base: Base, schedule: list[tuple[int, Mapping[str, Any]]]) -> dict[TopicPartition, int]:
    """Where to read from: the base's positions, and the first one of every partition added later.

    A run that begins there with another log than the base's begins at that log's start.
    """
    positions = dict(base.positions)
    for seq, entry in schedule:
        for partition, offset in _positions(entry.get("positions", [])).items():
            if seq == base.batch_seq + 1 or partition not in positions:
                positions[partition] = offset
    return positions


def _lowest_positions(base: Base, schedule: list[tuple[int, Mapping[str, Any]]]) -> dict[TopicPartition, int]:
    """The first offset of each partition that is needed: before the base's where some was read again."""
    positions = _all_positions(base, schedule)
    later = [entry for seq, entry in schedule if seq > base.batch_seq and entry["kind"] == BATCH]
    for topic, partition, first, _ in (taken for entry in later for taken in entry["ranges"]):
        where = TopicPartition(topic, partition)
        positions[where] = min(first, positions[where])
    return positions


def _positions(triples: list[tuple[str, int, int]]) -> dict[TopicPartition, int]:
    return {TopicPartition(topic, partition): offset for topic, partition, offset in triples}


def _learn_again(
    settings: LearnerSettings,
    source: Source,
    scratch: Path,
    versions: Versions,
    base: Base,
    schedule: list[tuple[int, Mapping[str, Any]]],
    progress: Callable[[int, int], None],
) -> tuple[str, int | None]:
    """Digest at the end, and the first micro-batch that came out differently."""
    replica = settings.aside(scratch)
    if base.version is not None:
        Directory(scratch).adopt(versions.database(base.version))
    writer = RocksWriter(replica.state, identity(replica), tuning=replica.rocksdb)
    try:
        engine = Engine(replica, writer)
        first = _all_positions(base, schedule)
        log: Portions | None = None
        difference: int | None = None
        for done, (batch_seq, entry) in enumerate(schedule):
            progress(done, len(schedule))
            if entry["kind"] == START:
                positions = _positions(entry["positions"])
                begin(engine, positions, fingerprint(settings), learnt_settings(settings), _log(entry))
            elif entry["kind"] == PASS:
                pass_over(engine, _positions(entry["through"]))
            elif entry["kind"] == BATCH:
                log = log or Portions(source, {**first, **writer.head().offsets})
                if engine.process(log.take(entry["ranges"]), entry).rewound:
                    log = None
                written = dict(writer.schedule(batch_seq - 1))[batch_seq]["rows"]
                if written != entry["rows"] and difference is None:
                    difference = batch_seq
            if engine.flush_is_due():
                engine.flush()
        progress(len(schedule), len(schedule))
        return digest(writer), difference
    finally:
        writer.close()
