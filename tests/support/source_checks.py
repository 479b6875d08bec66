"""What every log must do, whatever keeps it: one list of checks for `stream.source.Source` and `Sink`.

    CHECKS             any log
    RETENTION_CHECKS   a log that can be trimmed, deleted and recreated
    TRANSACTION_CHECKS a log with transactions
    OUTAGE_CHECKS      a log that can stop answering and start again

A `Ground` is a log under test; every check makes topics of its own, of four partitions.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any, Protocol

import pytest

from state.errors import (
    BrokerUnreachableError,
    LogChangedError,
    OffsetAheadError,
    OffsetExpiredError,
    TopicMissingError,
)
from state.store import OutboxRecord, TopicPartition
from stream.events import Records
from stream.source import Sink, Source

DEADLINE_S = 180.0
PARTITIONS = 4
Headers = Sequence[tuple[str, bytes]]


class Ground(Protocol):
    """A log under test."""

    def topic(self) -> str:
        """A new topic of four partitions."""
        ...

    def append(
        self,
        topic: str,
        partition: int,
        values: Sequence[bytes | None],
        key: bytes | None = None,
        headers: Headers | None = None,
        timestamp_ms: int = 1_700_000_000_000,
    ) -> None:
        """Add records and return once the log has them."""
        ...

    def source(self, *topics: str, request_timeout_ms: int = 20_000) -> Source: ...

    def sink(self) -> Sink: ...


class RetentionGround(Ground, Protocol):
    """A log that forgets."""

    def trim(self, topic: str, partition: int, before: int) -> None: ...

    def delete(self, topic: str) -> None: ...

    def recreate(self, topic: str) -> None: ...


class TransactionGround(Ground, Protocol):
    """A log with transactions."""

    def begin_transaction(self, topic: str, partition: int, values: Sequence[bytes | None]) -> None: ...

    def end_transaction(self, topic: str, partition: int, *, commit: bool) -> None: ...


class OutageGround(Ground, Protocol):
    """A log that can stop answering."""

    def stop(self) -> None: ...

    def start(self) -> None: ...


def opened(ground: Ground, positions: Mapping[TopicPartition, int]) -> AbstractContextManager[Any]:
    """A source of the topics of `positions`, assigned there."""
    source = ground.source(*sorted({where.topic for where in positions}))
    source.assign(positions)
    return closing(source)


def everywhere(topic: str, offset: int = 0) -> dict[TopicPartition, int]:
    """The same offset in every partition of a topic."""
    return {TopicPartition(topic, partition): offset for partition in range(PARTITIONS)}


def eventually(happens: Callable[[], bool], what: str) -> None:
    """Ask until it happens; `happens` is expected to wait a little by itself."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not happens():
        assert time.monotonic() < deadline_s, f"waited {DEADLINE_S} s for {what}"


def polled(source: Source, count: int, records_max: int = 10_000) -> list[Records]:
    """The next `count` records, as they come."""
    parts: list[Records] = []

    def enough() -> bool:
        parts.extend(source.poll(records_max, 200))
        return sum(map(len, parts)) >= count

    eventually(enough, f"{count} records")
    assert sum(map(len, parts)) == count
    return parts


def rows(parts: Sequence[Records]) -> Iterator[tuple[str, int, int, bytes | None]]:
    """(topic, partition, offset, value) of each record."""
    for part in parts:
        for partition, offset, value in zip(part.partitions, part.offsets, part.values, strict=True):
            yield part.topic, int(partition), int(offset), value


def numbered(first: int, count: int) -> list[bytes | None]:
    return [b"%d" % number for number in range(first, first + count)]


def check_partitions_are_listed_in_order(ground: Ground) -> None:
    """`partitions` is sorted by topic and partition."""
    topics = sorted([ground.topic(), ground.topic()])
    with closing(ground.source(*reversed(topics))) as source:
        expected = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]
        assert list(source.partitions()) == expected


def check_a_missing_topic_is_named(ground: Ground) -> None:
    """A topic that does not exist is an error that names it, wherever it is asked for."""
    with closing(ground.source("no-such-topic")) as source:
        with pytest.raises(TopicMissingError, match="no-such-topic"):
            source.partitions()
        with pytest.raises(TopicMissingError, match="no-such-topic"):
            source.limits([TopicPartition("no-such-topic", 0)])


def check_records_are_ordered_by_partition_and_offset(ground: Ground) -> None:
    """Whatever the order of arrival, columns are ordered, and nothing is lost or doubled."""
    topic = ground.topic()
    for start in range(0, 60, 20):
        for partition in (2, 0, 3, 1):
            ground.append(topic, partition, numbered(start, 20))
    with opened(ground, everywhere(topic)) as source:
        parts = polled(source, 240)
    for part in parts:
        places = list(zip(part.partitions.tolist(), part.offsets.tolist(), strict=True))
        assert places == sorted(places)
    seen = sorted(rows(parts))
    assert seen == sorted((topic, p, i, b"%d" % i) for p in range(PARTITIONS) for i in range(60))
    for partition in range(PARTITIONS):
        offsets = [offset for _, p, offset, _ in rows(parts) if p == partition]
        assert offsets == list(range(60))


def check_columns_have_their_types(ground: Ground) -> None:
    """int32 partitions, int64 offsets and times, lists of equal length."""
    topic = ground.topic()
    ground.append(topic, 1, [b"x", b"y"])
    with opened(ground, everywhere(topic)) as source:
        part = polled(source, 2)[0]
    assert (part.topic, len(part)) == (topic, 2)
    assert [str(column.dtype) for column in (part.partitions, part.offsets, part.timestamps_ms)] == [
        "int32",
        "int64",
        "int64",
    ]
    assert len(part.keys) == len(part.headers) == len(part.values) == len(part.offsets) == 2


def check_reading_starts_at_the_assigned_offsets(ground: Ground) -> None:
    """Records below the position are not read, and partitions that are not assigned are not read."""
    topic = ground.topic()
    for partition in range(3):
        ground.append(topic, partition, numbered(0, 10))
    with opened(ground, {TopicPartition(topic, 0): 7, TopicPartition(topic, 2): 9}) as source:
        parts = polled(source, 4)
        assert list(source.poll(10, 300)) == []
    read = {where: [offset for _, p, offset, _ in rows(parts) if p == where] for where in range(3)}
    assert read == {0: [7, 8, 9], 1: [], 2: [9]}


def check_assigning_again_replaces_the_positions(ground: Ground) -> None:
    """After a second `assign` only its partitions are read, from its offsets."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 10))
    ground.append(topic, 1, numbered(0, 10))
    with opened(ground, {TopicPartition(topic, 0): 0}) as source:
        polled(source, 3, records_max=1)
        source.assign({TopicPartition(topic, 1): 8})
        parts = polled(source, 2)
        assert list(source.poll(10, 300)) == []
        assert set(source.caught_up()) == {TopicPartition(topic, 1)}
    assert [(p, offset) for _, p, offset, _ in rows(parts)] == [(1, 8), (1, 9)]


def check_reading_can_go_back(ground: Ground) -> None:
    """What was read, to the end or in part, is read again from an earlier position."""
    topic = ground.topic()
    there = [TopicPartition(topic, partition) for partition in range(2)]
    for partition in range(2):
        ground.append(topic, partition, numbered(0, 10))
    with opened(ground, dict.fromkeys(there, 0)) as source:
        polled(source, 20)
        for records_max in (10, 1):
            source.assign({there[0]: 7, there[1]: 10})
            assert source.positions() == {there[0]: 7, there[1]: 10}
            parts = polled(source, 3, records_max=records_max)
            assert [(p, offset) for _, p, offset, _ in rows(parts)] == [(0, 7), (0, 8), (0, 9)]


def check_the_end_of_the_log_is_a_position(ground: Ground) -> None:
    """Reading from the next offset to be written waits for it and then returns it."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 5))
    with opened(ground, {TopicPartition(topic, 0): 5}) as source:
        assert list(source.poll(10, 300)) == []
        ground.append(topic, 0, [b"new"])
        assert list(rows(polled(source, 1))) == [(topic, 0, 5, b"new")]


def check_several_topics_come_apart(ground: Ground) -> None:
    """One source reads several topics: one `Records` for each in a poll, complete."""
    first, second = ground.topic(), ground.topic()
    ground.append(first, 0, numbered(0, 30))
    ground.append(second, 0, numbered(100, 30))
    with opened(ground, everywhere(first) | everywhere(second)) as source:
        parts: list[Records] = []

        def enough() -> bool:
            found = source.poll(10_000, 200)
            assert len({part.topic for part in found}) == len(found)
            parts.extend(found)
            return sum(map(len, parts)) >= 60

        eventually(enough, "60 records")
    assert [value for topic, _, _, value in rows(parts) if topic == first] == numbered(0, 30)
    assert [value for topic, _, _, value in rows(parts) if topic == second] == numbered(100, 30)


def check_keys_headers_and_missing_values_survive(ground: Ground) -> None:
    """Keys, headers and times arrive as they were; absent ones are None, and empty is not absent."""
    topic = ground.topic()
    headers = [("content-type", b"application/json"), ("content-type", b""), ("t\u00e9", b"\xff\x00")]
    ground.append(topic, 0, [b"value"], key=b"key\xff", headers=headers, timestamp_ms=1_234_567_890_123)
    ground.append(topic, 0, [None], key=b"")
    ground.append(topic, 0, [b""])
    with opened(ground, everywhere(topic)) as source:
        parts = polled(source, 3)
    assert [value for part in parts for value in part.values] == [b"value", None, b""]
    assert [key for part in parts for key in part.keys] == [b"key\xff", b"", None]
    found = [pairs for part in parts for pairs in part.headers]
    assert list(found[0] or ()) == headers
    assert found[1:] == [None, None]
    assert parts[0].timestamps_ms[0] == 1_234_567_890_123


def check_records_max_is_respected(ground: Ground) -> None:
    """No poll returns more records than asked for, over all partitions and topics together."""
    first, second = ground.topic(), ground.topic()
    for topic in (first, second):
        for partition in range(PARTITIONS):
            ground.append(topic, partition, numbered(0, 10))
    with opened(ground, everywhere(first) | everywhere(second)) as source:
        sizes: list[int] = []

        def all_read() -> bool:
            sizes.append(sum(map(len, source.poll(7, 200))))
            return sum(sizes) >= 80

        eventually(all_read, "80 records")
    assert max(sizes) <= 7
    assert sum(sizes) == 80


def check_a_poll_ends_soon_after_the_first_records(ground: Ground) -> None:
    """The timeout bounds the wait for the first record; a poll does not wait for `records_max`."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 3))
    with opened(ground, everywhere(topic)) as source:
        started_s = time.monotonic()
        assert sum(map(len, source.poll(10_000, 20_000))) > 0
        assert time.monotonic() - started_s < 10


def check_a_poll_without_records_ends_with_its_timeout(ground: Ground) -> None:
    """Nothing to read is an empty answer, after the timeout and not long after it."""
    with opened(ground, everywhere(ground.topic())) as source:
        started_s = time.monotonic()
        assert list(source.poll(10, 300)) == []
        assert 0.29 <= time.monotonic() - started_s < 5
        assert list(source.poll(10, 0)) == []


def check_limits_tell_first_and_end(ground: Ground) -> None:
    """An empty partition is (0, 0); one with n records (0, n)."""
    topic = ground.topic()
    ground.append(topic, 1, numbered(0, 4))
    with closing(ground.source(topic)) as source:
        limits = source.limits(source.partitions())
    assert [limits[TopicPartition(topic, partition)] for partition in range(PARTITIONS)] == [
        (0, 0),
        (0, 4),
        (0, 0),
        (0, 0),
    ]


def check_caught_up_follows_polling(ground: Ground) -> None:
    """Partitions with unread records are behind, empty ones are not, and new records put one behind again."""
    topic = ground.topic()
    ground.append(topic, 1, numbered(0, 5))
    with opened(ground, everywhere(topic)) as source:
        source.limits(source.partitions())
        assert source.caught_up() == {where: where.partition != 1 for where in everywhere(topic)}
        polled(source, 3, records_max=1)
        assert not source.caught_up()[TopicPartition(topic, 1)]
        polled(source, 2)
        assert all(source.caught_up().values())
        ground.append(topic, 3, numbered(0, 5))
        polled(source, 2, records_max=1)
        assert source.caught_up() == {where: where.partition != 3 for where in everywhere(topic)}
        polled(source, 3)
        assert all(source.caught_up().values())


def check_caught_up_becomes_true_by_polling_alone(ground: Ground) -> None:
    """Without asking for limits, polling learns where the partitions end, empty ones included."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 5))
    with opened(ground, everywhere(topic)) as source:
        polled(source, 5)

        def all_caught_up() -> bool:
            assert list(source.poll(10, 50)) == []
            return all(source.caught_up().values())

        eventually(all_caught_up, "the ends of all partitions")


def check_commits_change_nothing_here(ground: Ground) -> None:
    """Group offsets are written, not read: the next source starts where it is told to."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 5))
    with opened(ground, everywhere(topic)) as source:
        polled(source, 5)
        source.commit(everywhere(topic, 5))
        assert list(source.poll(10, 100)) == []
        assert source.problem() is None
    with opened(ground, everywhere(topic)) as source:
        polled(source, 5)


def check_a_sink_acknowledges_what_it_was_given(ground: Ground) -> None:
    """Each id comes back once, and its record is in the log: key, value, headers, tombstone."""
    topic = ground.topic()
    given = {
        number: OutboxRecord(topic, b"k%d" % (number % 7), b"v%d" % number, (("n", b"%d" % number),))
        for number in range(1, 200)
    }
    given[200] = OutboxRecord(topic, None, None)
    with closing(ground.sink()) as sink:
        assert all(sink.send(number, record) for number, record in given.items())
        assert sink.send(200, given[200])
        acknowledged = list(sink.flush(20_000))
        assert sorted(acknowledged) == sorted(given)
        assert list(sink.poll()) == []
        assert sink.problem() is None
    with opened(ground, everywhere(topic)) as source:
        parts = polled(source, 200)
    found = {
        (key, value, tuple(headers or ()))
        for part in parts
        for key, value, headers in zip(part.keys, part.values, part.headers, strict=True)
    }
    assert found == {(record.key, record.value, record.headers) for record in given.values()}


def check_one_key_stays_in_one_partition(ground: Ground) -> None:
    """Records of one key keep their order."""
    topic = ground.topic()
    with closing(ground.sink()) as sink:
        for number in range(50):
            assert sink.send(number, OutboxRecord(topic, b"key", b"%d" % number))
        assert len(sink.flush(20_000)) == 50
    with opened(ground, everywhere(topic)) as source:
        found = list(rows(polled(source, 50)))
    assert len({partition for _, partition, _, _ in found}) == 1
    assert [value for _, _, _, value in found] == numbered(0, 50)


def check_positions_pass_the_marker_of_a_transaction(ground: TransactionGround) -> None:
    """What ends a transaction takes an offset and is no record."""
    topic = ground.topic()
    where = TopicPartition(topic, 0)
    ground.begin_transaction(topic, 0, numbered(0, 5))
    ground.end_transaction(topic, 0, commit=True)
    with opened(ground, {where: 0}) as source:
        polled(source, 5)
        eventually_at(source, where, 6)
        assert source.limits([where]) == {where: (0, 6)}
        assert source.caught_up() == {where: True}


def check_positions_pass_what_was_aborted(ground: TransactionGround) -> None:
    """Records of an aborted transaction are never read, at the end of a log either."""
    topic = ground.topic()
    where = TopicPartition(topic, 0)
    ground.append(topic, 0, numbered(0, 2))
    ground.begin_transaction(topic, 0, numbered(10, 5))
    ground.end_transaction(topic, 0, commit=False)
    with opened(ground, {where: 0}) as source:
        assert [value for *_, value in rows(polled(source, 2))] == numbered(0, 2)
        eventually_at(source, where, 8)
        ground.append(topic, 0, [b"new"])
        assert list(rows(polled(source, 1))) == [(topic, 0, 8, b"new")]


def check_an_open_transaction_is_told(ground: TransactionGround) -> None:
    """It holds back what comes after it too; what it begins with, and where the log ends, is told."""
    topic = ground.topic()
    where = TopicPartition(topic, 0)
    ground.append(topic, 0, numbered(0, 3))
    ground.begin_transaction(topic, 0, numbered(10, 2))
    ground.append(topic, 0, numbered(20, 4))
    with opened(ground, {where: 0}) as source:
        assert source.limits([where]) == {where: (0, 9)}
        polled(source, 3)

        def held() -> bool:
            assert list(source.poll(10, 50)) == []
            return where in source.held()

        eventually(held, "word of the open transaction")
        assert (source.held()[where].first, source.held()[where].end) == (3, 9)
        assert source.caught_up() == {where: False}
        assert source.positions() == {where: 3}
        ground.end_transaction(topic, 0, commit=True)
        found = [value for *_, value in rows(polled(source, 6))]
        assert found == [*numbered(10, 2), *numbered(20, 4)]
        eventually_at(source, where, 10)
        eventually(lambda: not source.poll(10, 50) and not source.held(), "word of its end")


def eventually_at(source: Source, where: TopicPartition, position: int) -> None:
    """Poll, without records, until the source has come to a position."""

    def there() -> bool:
        assert list(source.poll(10, 50)) == []
        return source.positions()[where] >= position

    eventually(there, f"position {position}")
    assert source.positions()[where] == position


def check_an_expired_offset_is_named(ground: RetentionGround) -> None:
    """A position below the log's start is an error that says how much is gone, never a silent jump."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 10))
    ground.trim(topic, 0, 6)
    with opened(ground, {TopicPartition(topic, 0): 2}) as source:
        assert source.limits([TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): (6, 10)}
        with pytest.raises(
            OffsetExpiredError, match=rf"{topic} partition 0.*offset 2.*starts at 6: 4 records"
        ):
            polled(source, 1)
    with opened(ground, {TopicPartition(topic, 0): 6}) as source:
        assert [offset for _, _, offset, _ in rows(polled(source, 4))] == [6, 7, 8, 9]


def check_an_offset_beyond_the_end_is_named(ground: RetentionGround) -> None:
    """A position above the log's end is an error, never a silent wait."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 10))
    with (
        opened(ground, {TopicPartition(topic, 0): 11}) as source,
        pytest.raises(OffsetAheadError, match=rf"{topic} partition 0.*offset 11.*ends at 10"),
    ):
        polled(source, 1)


def check_a_failure_lasts(ground: RetentionGround) -> None:
    """Polling again after the error raises it again; assigning a position in the log ends it."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 3))
    with opened(ground, {TopicPartition(topic, 0): 50}) as source:
        for _ in range(2):
            with pytest.raises(OffsetAheadError):
                polled(source, 1)
        source.assign({TopicPartition(topic, 0): 1})
        assert [offset for _, _, offset, _ in rows(polled(source, 2))] == [1, 2]


def check_a_recreated_topic_is_named(ground: RetentionGround) -> None:
    """A topic that was deleted and created again while it was read is an error, not a fresh start."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 10))
    with opened(ground, {TopicPartition(topic, 0): 0}) as source:
        polled(source, 10)
        ground.recreate(topic)
        ground.append(topic, 0, numbered(0, 3))
        with pytest.raises(OffsetAheadError, match=r"offset 10.*ends at"):
            polled(source, 1)


def check_a_recreated_topic_is_told_from_the_one_that_was_asked_about(ground: RetentionGround) -> None:
    """By its id: the new log may hold the position too, and what is before it there was never read."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 10))
    with opened(ground, {TopicPartition(topic, 0): 0}) as source:
        before = source.identity()
        assert topic in before.topics
        polled(source, 10)
        ground.recreate(topic)
        ground.append(topic, 0, numbered(0, 3))
        with pytest.raises(LogChangedError, match=f"topic {topic} was deleted and created anew"):
            polled(source, 1)
        ground.append(topic, 0, numbered(3, 30))
        after = source.identity()
        assert list(before.changes(after)) == [topic]
        assert before.cluster == after.cluster != ""


def check_a_deleted_topic_is_named(ground: RetentionGround) -> None:
    """A topic that is deleted while it is read is an error that names it."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 10))
    with opened(ground, everywhere(topic)) as source:
        polled(source, 10)
        ground.delete(topic)
        with pytest.raises(TopicMissingError, match=topic):
            polled(source, 1)


def check_reading_resumes_after_an_outage(ground: OutageGround) -> None:
    """While the log does not answer `problem` says so; afterwards reading goes on where it was."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 5))
    with opened(ground, everywhere(topic)) as source:
        polled(source, 5)
        ground.stop()
        try:
            eventually(lambda: not source.poll(10, 100) and source.problem() is not None, "a problem")
            source.commit(everywhere(topic, 5))
        finally:
            ground.start()
        ground.append(topic, 0, numbered(5, 5))
        assert [value for *_, value in rows(polled(source, 5))] == numbered(5, 5)
        eventually(lambda: not source.poll(10, 100) and source.problem() is None, "the end of the problem")
        eventually(
            lambda: not source.poll(10, 100) and all(source.caught_up().values()), "the end of the log"
        )


def check_a_problem_ends_without_records(ground: OutageGround) -> None:
    """An idle source sees that the log answers again although nothing arrives."""
    with opened(ground, everywhere(ground.topic())) as source:
        source.poll(10, 300)
        ground.stop()
        try:
            eventually(lambda: not source.poll(10, 100) and source.problem() is not None, "a problem")
        finally:
            ground.start()
        eventually(lambda: not source.poll(10, 100) and source.problem() is None, "the end of the problem")


def check_a_log_that_is_down_at_start_is_waited_for(ground: OutageGround) -> None:
    """Nothing answers: requests fail by name after their timeout, and `problem` says why."""
    topic = ground.topic()
    ground.append(topic, 0, numbered(0, 5))
    ground.stop()
    try:
        source = ground.source(topic, request_timeout_ms=5_000)
        with pytest.raises(BrokerUnreachableError):
            source.partitions()
        eventually(lambda: not source.poll(10, 100) and source.problem() is not None, "a problem")
    finally:
        ground.start()
    with closing(source):
        eventually(lambda: not source.poll(10, 100) and source.problem() is None, "the log")
        assert list(source.partitions()) == list(everywhere(topic))
        assert source.limits([TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): (0, 5)}
        source.assign(everywhere(topic))
        assert [value for *_, value in rows(polled(source, 5))] == numbered(0, 5)


def check_a_sink_survives_an_outage(ground: OutageGround) -> None:
    """Records handed over while the log is down are acknowledged after it is back, each once."""
    topic = ground.topic()
    with closing(ground.sink()) as sink:
        assert sink.send(1, OutboxRecord(topic, b"k", b"before"))
        assert list(sink.flush(20_000)) == [1]
        ground.stop()
        try:
            for number in range(2, 12):
                assert sink.send(number, OutboxRecord(topic, b"k", b"%d" % number))
            assert list(sink.flush(200)) == []
            eventually(lambda: not sink.flush(100) and sink.problem() is not None, "a problem")
        finally:
            ground.start()
        assert sorted(sink.flush(30_000)) == list(range(2, 12))
        assert sink.problem() is None
    with opened(ground, everywhere(topic)) as source:
        assert [value for *_, value in rows(polled(source, 11))] == [b"before", *numbered(2, 10)]


CHECKS: tuple[Callable[[Ground], None], ...] = (
    check_partitions_are_listed_in_order,
    check_a_missing_topic_is_named,
    check_records_are_ordered_by_partition_and_offset,
    check_columns_have_their_types,
    check_reading_starts_at_the_assigned_offsets,
    check_assigning_again_replaces_the_positions,
    check_reading_can_go_back,
    check_the_end_of_the_log_is_a_position,
    check_several_topics_come_apart,
    check_keys_headers_and_missing_values_survive,
    check_records_max_is_respected,
    check_a_poll_ends_soon_after_the_first_records,
    check_a_poll_without_records_ends_with_its_timeout,
    check_limits_tell_first_and_end,
    check_caught_up_follows_polling,
    check_caught_up_becomes_true_by_polling_alone,
    check_commits_change_nothing_here,
    check_a_sink_acknowledges_what_it_was_given,
    check_one_key_stays_in_one_partition,
)
RETENTION_CHECKS: tuple[Callable[[RetentionGround], None], ...] = (
    check_an_expired_offset_is_named,
    check_an_offset_beyond_the_end_is_named,
    check_a_failure_lasts,
    check_a_recreated_topic_is_named,
    check_a_recreated_topic_is_told_from_the_one_that_was_asked_about,
    check_a_deleted_topic_is_named,
)
TRANSACTION_CHECKS: tuple[Callable[[TransactionGround], None], ...] = (
    check_positions_pass_the_marker_of_a_transaction,
    check_positions_pass_what_was_aborted,
    check_an_open_transaction_is_told,
)
OUTAGE_CHECKS: tuple[Callable[[OutageGround], None], ...] = (
    check_reading_resumes_after_an_outage,
    check_a_problem_ends_without_records,
    check_a_log_that_is_down_at_start_is_waited_for,
    check_a_sink_survives_an_outage,
)
