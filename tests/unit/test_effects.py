"""A handler for each topic: what its records do is one commit, and counts are what adds up."""

from collections.abc import Callable

import pytest
from pipeline import CONTROL, INTERACTIONS, Feed, command, event, small_settings

from protos.events_pb2 import COMMAND_ACTION_FREEZE
from state.errors import RowsExhaustedError
from state.memory import MemoryStore
from state.store import OutboxRecord, TopicPartition
from stream.control import Control
from stream.effects import Counts, Effects
from stream.engine import Engine
from stream.events import Records


class Prices:
    """A handler of a topic that only this test has."""

    topic = "prices"

    def __init__(self, room: int = 1_000) -> None:
        self.room = room
        self.acted: list[int] = []

    def prepare(self, records: Records, batch_seq: int) -> Callable[[], Effects]:
        if len(records) > self.room:
            raise RowsExhaustedError("no room")
        return lambda: self._act(records)

    def reject(self, record: Records, error: RowsExhaustedError) -> Effects:
        return Effects(outbox=(OutboxRecord("refused", None, record.values[0]),))

    def _act(self, records: Records) -> Effects:
        self.acted.append(len(records))
        return Effects(memo={"prices": b"%d" % sum(self.acted)}, counts=Counts(events=len(records)))


def engine_with(prices: Prices) -> Engine:
    engine = Engine(small_settings(), MemoryStore())
    engine._handlers = (*engine._handlers, prices)
    return engine


def test_every_consumed_topic_has_a_handler() -> None:
    engine = Engine(small_settings(), MemoryStore())
    assert {handler.topic for handler in engine._handlers} == set(engine.settings.topics.consumed)


def test_what_the_records_of_a_topic_do_is_one_commit() -> None:
    engine = engine_with(Prices())
    report = engine.process(
        [
            Feed("prices")(b"1", b"2", b"3"),
            Feed(CONTROL)(command(COMMAND_ACTION_FREEZE)),
            Feed()(event("a", "x"), b"\x08rubbish"),
        ]
    )
    head = engine.store.head()
    assert (report.batch_seq, report.records, head.batch_seq) == (3, 6, 3)
    topics = [entry["ranges"][0][0] for _, entry in engine.store.schedule()]
    assert topics == [CONTROL, INTERACTIONS, "prices"], "commands come first, wherever they stand"
    assert report.counts == Counts(events=4, frozen=1, rejected=1, key_mismatches=1)
    assert (head.memo["prices"], Control.restore(head.memo["control"])) == (b"3", Control(frozen=True))
    assert [record.topic for _, record in engine.store.outbox()] == [
        engine.settings.topics.drift,
        engine.settings.topics.dlq,
    ]
    assert head.offsets == {
        TopicPartition("prices", 0): 3,
        TopicPartition(CONTROL, 0): 1,
        TopicPartition(INTERACTIONS, 0): 2,
    }


def test_records_that_nobody_handles_are_not_passed_over() -> None:
    engine = Engine(small_settings(), MemoryStore())
    with pytest.raises(ValueError, match="prices"):
        engine.process([Feed()(event("a", "x")), Feed("prices")(b"1")])
    assert engine.store.head().batch_seq == engine.model.clock == 0


@pytest.mark.parametrize("room", [0, 1, 2, 5])
def test_records_that_do_not_fit_are_halved_or_refused_and_others_act_once(room: int) -> None:
    prices = Prices(room)
    engine = engine_with(prices)
    report = engine.process([Feed()(event("a", "x")), Feed("prices")(*(b"%d" % n for n in range(5)))])
    assert report.records == 6
    assert report.counts.learnt == engine.model.clock == 1
    assert sum(prices.acted) == (5 if room else 0)
    assert max(prices.acted, default=0) <= room
    refused = [record.value for _, record in engine.store.outbox()]
    assert refused == ([] if room else [b"0", b"1", b"2", b"3", b"4"])
    assert engine.store.head().offsets[TopicPartition("prices", 0)] == 5


def test_counts_add_up_by_name() -> None:
    one = Counts(events=3, learnt=2, duplicates=1, refused={"norm": 1})
    other = Counts(events=1, frozen=1, refused={"norm": 2, "not_finite": 1}, rejected=4, key_mismatches=5)
    both = one + other
    assert both == Counts(4, 1, 2, 1, 0, {"norm": 3, "not_finite": 1}, 4, 5)
    assert both == other + one
    assert both.named() == {
        "events": 4,
        "duplicates": 1,
        "learnt": 2,
        "not_learnt": 0,
        "frozen": 1,
        "rejected": 4,
        "key_mismatches": 5,
        "refused_norm": 3,
        "refused_not_finite": 1,
    }
    assert Counts(events=2, learnt=2).named() == {"events": 2, "duplicates": 0, "learnt": 2, "not_learnt": 0}
