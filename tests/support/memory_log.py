"""The in-memory twin of a broker: topics, partitions, and a Source and a Sink over them.

    log = MemoryLog()
    log.create_topic("events", partitions=4)
    log.append("events", 0, b"value", key=b"user")
    source = MemorySource(log, ["events"])

`tests/contract/test_source.py` holds it to what the real one does. Several threads may share a log.
"""

import itertools
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from state.errors import BrokerUnreachableError, SourceError, TopicMissingError
from state.store import OutboxRecord, TopicPartition
from stream.events import Records
from stream.source import Held, LogIdentity, require_offset_in_log

Headers = Sequence[tuple[str, bytes]]
IDS = itertools.count()


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """One record of a partition."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    timestamp_ms: int


@dataclass(slots=True)
class _Partition:
    """Records from `first` on; `records[i].offset == first + i`.

    Those at `hidden` offsets are never read: markers, and what was aborted. A transaction is open from
    `held_from` on.
    """

    first: int = 0
    records: list[MemoryRecord] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    held_from: int | None = None
    held_since_s: float = 0.0

    @property
    def end(self) -> int:
        return self.first + len(self.records)

    @property
    def readable_end(self) -> int:
        return self.end if self.held_from is None else self.held_from


class MemoryLog:
    """Topics in memory. `stop()` makes it answer nobody, `start()` ends that; records stay."""

    def __init__(self) -> None:
        self._topics: dict[str, list[_Partition]] = {}
        self.cluster = f"cluster-{next(IDS)}"
        self.topic_ids: dict[str, str] = {}
        self.changed = threading.Condition()
        self.reachable = True
        self.group_offsets: dict[TopicPartition, int] = {}

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create an empty topic."""
        with self.changed:
            self._topics[name] = [_Partition() for _ in range(partitions)]
            self.topic_ids[name] = f"id-{next(IDS)}"

    def add_partition(self, name: str) -> None:
        """Give a topic another partition, empty."""
        with self.changed:
            self._topics[name].append(_Partition())

    def truncate(self, topic: str, partition: int, end: int) -> None:
        """Lose the records from an offset on, as an unclean election of a leader does."""
        with self.changed:
            part = self.partition(TopicPartition(topic, partition))
            del part.records[end - part.first :]
            self.changed.notify_all()

    def remove_partition(self, name: str) -> None:
        """Take a topic's last partition away, which no broker does."""
        with self.changed:
            self._topics[name].pop()

    def delete_topic(self, name: str) -> None:
        """Delete a topic and its records."""
        with self.changed:
            del self._topics[name]
            self.changed.notify_all()

    def recreate_topic(self, name: str, partitions: int = 1) -> None:
        """Delete a topic and create it anew, empty."""
        self.delete_topic(name)
        self.create_topic(name, partitions)

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
        timestamp_ms: int = 1_700_000_000_000,
    ) -> int:
        """Add a record; its offset."""
        with self.changed:
            part = self.partition(TopicPartition(topic, partition))
            part.records.append(MemoryRecord(part.end, key, value, headers, timestamp_ms))
            self.changed.notify_all()
            return part.end - 1

    def begin_transaction(self, topic: str, partition: int) -> None:
        """What is appended from now on cannot be read until the transaction ends."""
        with self.changed:
            part = self.partition(TopicPartition(topic, partition))
            part.held_from, part.held_since_s = part.end, time.monotonic()

    def end_transaction(self, topic: str, partition: int, *, commit: bool) -> None:
        """Append the marker; what was appended meanwhile can be read now, or never."""
        with self.changed:
            part = self.partition(TopicPartition(topic, partition))
            assert part.held_from is not None
            if not commit:
                part.hidden.update(range(part.held_from, part.end))
            part.hidden.add(self.append(topic, partition, None))
            part.held_from = None
            self.changed.notify_all()

    def trim(self, topic: str, partition: int, before: int) -> None:
        """Forget the records below an offset, as retention would."""
        with self.changed:
            part = self.partition(TopicPartition(topic, partition))
            del part.records[: before - part.first]
            part.first = before
            self.changed.notify_all()

    def read(self, topic: str, partition: int = 0) -> list[MemoryRecord]:
        """All records kept of a partition."""
        with self.changed:
            return list(self.partition(TopicPartition(topic, partition)).records)

    def stop(self) -> None:
        """Answer nobody until `start`."""
        with self.changed:
            self.reachable = False

    def start(self) -> None:
        """Answer again."""
        with self.changed:
            self.reachable = True
            self.changed.notify_all()

    def partition_count(self, topic: str) -> int:
        """How many partitions a topic has."""
        if topic not in self._topics:
            raise TopicMissingError(f"topic {topic} does not exist in the log in memory: create it first")
        return len(self._topics[topic])

    def partition(self, where: TopicPartition) -> _Partition:
        """One partition; the caller holds `changed`."""
        if where.partition >= self.partition_count(where.topic):
            raise TopicMissingError(f"topic {where.topic} has no partition {where.partition}")
        return self._topics[where.topic][where.partition]


class MemorySource:
    """`stream.source.Source` over a `MemoryLog`."""

    def __init__(self, log: MemoryLog, topics: Sequence[str]) -> None:
        self._log = log
        self._topics = tuple(topics)
        self._positions: dict[TopicPartition, int] = {}
        self._failure: SourceError | None = None
        self._identity = LogIdentity()

    def partitions(self) -> Sequence[TopicPartition]:
        """Every partition of the topics, sorted."""
        self._require_reachable()
        return sorted(
            TopicPartition(topic, partition)
            for topic in self._topics
            for partition in range(self._log.partition_count(topic))
        )

    def limits(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """(first offset kept, next offset to be written) of each partition."""
        self._require_reachable()
        with self._log.changed:
            return {where: self._limits_of(where) for where in partitions}

    def identity(self) -> LogIdentity:
        """Which log this is."""
        self._require_reachable()
        for topic in self._topics:
            self._log.partition_count(topic)
        self._identity = self._identity_now()
        return self._identity

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, and only these, from these offsets on."""
        self._positions = dict(positions)
        self._failure = None

    def poll(self, records_max: int, timeout_ms: int) -> Sequence[Records]:
        """What there is, waiting at most `timeout_ms` for the first record."""
        with self._log.changed:
            self._log.changed.wait_for(self._anything, timeout_ms / 1_000)
            if not self._log.reachable:
                return []
            taken = self._take(records_max)
            if not taken and self._failure is not None:
                raise self._failure
            return taken

    def positions(self) -> Mapping[TopicPartition, int]:
        """Where reading goes on."""
        return self._positions

    def held(self) -> Mapping[TopicPartition, Held]:
        """What open transactions hold back."""
        held = {}
        with self._log.changed:
            for where, position in self._positions.items():
                part = self._log.partition(where)
                if part.held_from is not None and part.held_from <= position < part.end:
                    held[where] = Held(position, part.end, part.held_since_s)
        return held

    def caught_up(self) -> Mapping[TopicPartition, bool]:
        """Whether everything of a partition has been polled."""
        with self._log.changed:
            return {
                where: self._log.partition(where).end <= position
                for where, position in self._positions.items()
            }

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Write the group's offsets; read by nobody."""
        self._log.group_offsets.update(positions)

    def problem(self) -> str | None:
        """What keeps records from arriving."""
        return None if self._log.reachable else "the log in memory was stopped; waiting for it"

    def close(self) -> None:
        """Nothing to let go of."""

    def _require_reachable(self) -> None:
        if not self._log.reachable:
            raise BrokerUnreachableError("the log in memory was stopped: start it")

    def _identity_now(self) -> LogIdentity:
        ids = {topic: self._log.topic_ids[topic] for topic in self._topics}
        return LogIdentity(self._log.cluster, ids)

    def _limits_of(self, where: TopicPartition) -> tuple[int, int]:
        part = self._log.partition(where)
        return part.first, part.end

    def _anything(self) -> bool:
        """Whether a poll has a reason to end: records, or a position that is not in the log."""
        if not self._log.reachable:
            return False
        try:
            return any(
                self._log.partition(where).readable_end != position
                for where, position in self._positions.items()
            )
        except TopicMissingError:
            return True

    def _take(self, records_max: int) -> list[Records]:
        """Records of every partition in turn, `records_max` at most; failures are kept for later."""
        by_topic: dict[str, list[tuple[int, MemoryRecord]]] = {}
        for where, position in sorted(self._positions.items()):
            try:
                self._log.partition(where)
                self._identity.require_same(self._identity_now())
                require_offset_in_log(where, position, self._limits_of(where))
            except SourceError as error:
                self._failure = error
                continue
            part = self._log.partition(where)
            start = position - part.first
            taken = part.records[start : min(start + records_max, part.readable_end - part.first)]
            found = [record for record in taken if record.offset not in part.hidden]
            if found:
                records_max -= len(found)
                by_topic.setdefault(where.topic, []).extend((where.partition, record) for record in found)
            if taken:
                self._positions[where] = taken[-1].offset + 1
        return [_columns(topic, by_topic[topic]) for topic in self._topics if topic in by_topic]


def _columns(topic: str, found: Sequence[tuple[int, MemoryRecord]]) -> Records:
    return Records(
        topic=topic,
        values=[record.value for _, record in found],
        keys=[record.key for _, record in found],
        headers=[record.headers for _, record in found],
        partitions=np.array([partition for partition, _ in found], np.int32),
        offsets=np.array([record.offset for _, record in found], np.int64),
        timestamps_ms=np.array([record.timestamp_ms for _, record in found], np.int64),
    )


class MemorySink:
    """`stream.source.Sink` over a `MemoryLog`: at most `queue_max` records wait for the log to answer."""

    def __init__(self, log: MemoryLog, queue_max: int = 100_000) -> None:
        self._log = log
        self._queue_max = queue_max
        self._waiting: dict[int, OutboxRecord] = {}

    def send(self, record_id: int, record: OutboxRecord) -> bool:
        """Hand a record over; False when the queue is full."""
        if record_id not in self._waiting and len(self._waiting) >= self._queue_max:
            return False
        self._waiting[record_id] = record
        return True

    def poll(self) -> Sequence[int]:
        """Append what waits, if the log answers; its ids."""
        if not self._log.reachable:
            return []
        waiting, self._waiting = self._waiting, {}
        for record in waiting.values():
            partition = zlib.crc32(record.key or b"") % self._log.partition_count(record.topic)
            self._log.append(record.topic, partition, record.value, record.key, record.headers or None)
        return list(waiting)

    def flush(self, timeout_ms: int) -> Sequence[int]:
        """Wait for the log to answer, at most this long; ids of what was appended."""
        with self._log.changed:
            self._log.changed.wait_for(lambda: self._log.reachable, timeout_ms / 1_000)
        return self.poll()

    def problem(self) -> str | None:
        """What keeps records from being acknowledged."""
        return (
            "the log in memory was stopped; retrying" if self._waiting and not self._log.reachable else None
        )

    def close(self) -> None:
        """What was not appended is dropped."""
        self._waiting.clear()
