"""Reading part of the log once: all of it, in portions, and not for ever."""

import pytest
from memory_log import MemoryLog, MemorySource

from state.errors import BrokerUnreachableError, StoreCorruptError
from state.store import TopicPartition
from stream.log_reader import SILENT_POLLS, Portions, polls, scan


@pytest.fixture
def log() -> MemoryLog:
    """Topic t: 70 records in partition 0, 3 in partition 1, none in partition 2; topic s: 5."""
    log = MemoryLog()
    log.create_topic("t", 3)
    log.create_topic("s")
    for partition, count in ((0, 70), (1, 3)):
        for n in range(count):
            log.append("t", partition, b"%d" % n)
    for n in range(5):
        log.append("s", 0, b"s%d" % n)
    return log


class Stopping(MemorySource):
    """A source whose broker is silent from some poll on; no poll waits."""

    def __init__(self, log: MemoryLog, polls_left: int) -> None:
        super().__init__(log, ["t"])
        self.log, self.polls_left, self.polled = log, polls_left, 0

    def poll(self, records_max, timeout_ms):
        self.polled += 1
        self.polls_left -= 1
        return super().poll(min(records_max, 10), 0) if self.polls_left >= 0 else []

    def caught_up(self):
        return {}

    def problem(self):
        return "all brokers are down"


def test_a_scan_ends_where_the_topics_ended_when_it_began(log: MemoryLog) -> None:
    found = []
    for records in scan(MemorySource(log, ["t", "s"])):
        if not found:
            log.append("t", 2, b"later")
        found += [(records.topic, value) for value in records.values]
    assert len(found) == 78
    assert {value for topic, value in found if topic == "s"} == {b"s%d" % n for n in range(5)}


def test_a_scan_of_nothing_ends() -> None:
    log = MemoryLog()
    log.create_topic("t")
    source = Stopping(log, 0)
    assert list(scan(source)) == []
    assert source.polled == 0, "nothing is waited for"


def test_what_a_scan_waits_for_in_vain_is_said(log: MemoryLog) -> None:
    source = Stopping(log, 4)
    with pytest.raises(BrokerUnreachableError, match="30 s, and t has more: all brokers are down"):
        list(scan(source))
    assert source.polled == 4 + SILENT_POLLS


def test_portions_are_those_asked_for(log: MemoryLog) -> None:
    portions = Portions(
        MemorySource(log, ["t", "s"]),
        {TopicPartition("t", 0): 5, TopicPartition("t", 1): 0, TopicPartition("s", 0): 0},
    )
    one = {
        records.topic: records for records in portions.take([("t", 1, 0, 2), ("s", 0, 0, 1), ("t", 0, 5, 40)])
    }
    assert one["s"].values == [b"s0"]
    assert one["t"].values == [*(b"%d" % n for n in range(5, 40)), b"0", b"1"]
    [two] = portions.take([("t", 0, 40, 41)])
    assert two.values == [b"40"]
    with pytest.raises(StoreCorruptError, match=r"t \[0\] has no record at offset 43"):
        portions.take([("t", 0, 43, 44)])


def test_a_portion_that_does_not_come_is_not_waited_for_for_ever(log: MemoryLog) -> None:
    portions = Portions(Stopping(log, 3), {TopicPartition("t", 0): 0})
    [found] = portions.take([("t", 0, 0, 30)])
    assert len(found) == 30
    with pytest.raises(BrokerUnreachableError, match=r"t \[0\] should have offset 69"):
        portions.take([("t", 0, 30, 70)])


def test_polling_without_a_wish_has_no_end(log: MemoryLog) -> None:
    polling = polls(Stopping(log, 0))
    assert [next(polling) for _ in range(SILENT_POLLS + 5)] == [[]] * (SILENT_POLLS + 5)
