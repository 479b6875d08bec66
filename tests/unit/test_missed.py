"""Events that were not learnt are learnt afterwards, from the log, as if learning had never stopped."""

import pytest
from memory_learner import LastingLearner
from pipeline import INTERACTIONS, event, random_events

from protos.events_pb2 import (
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_LEARN_MISSED,
    COMMAND_ACTION_RESUME,
    CommandResult,
)
from state.codec import EVIDENCE, INPUTS
from state.errors import LogChangedError
from stream.control import Control

BATCH = 50
EVIDENCE_KINDS = {EVIDENCE, INPUTS}
EVERYTHING = {"prequential": {"sample_every": 1}, "decode": {"event_ids_kept": 500}}


class Place(LastingLearner):
    """One that measures everything, with so many partitions."""

    def __init__(self, directory, partitions=1, **sections):
        learning = {"batch_records_max": BATCH, **sections.pop("learning", {})}
        super().__init__(directory, learning=learning, **{**EVERYTHING, **sections})
        self.log.recreate_topic(INTERACTIONS, partitions)
        self.partitions = partitions

    def publish(self, values):
        for n, value in enumerate(values):
            self.log.append(INTERACTIONS, n % self.partitions, value, b"k")


def model_of(engine):
    """Every row of what is learnt, bit for bit but for when it changed."""
    for part in (engine.model.users, engine.model.items, engine.model.neighbours):
        part.changed_at[:] = 1
    return {
        (block.kind, ordinal): block.row(n)
        for block in engine.model.changed_since(0)
        if block.kind not in EVIDENCE_KINDS
        for n, ordinal in enumerate(block.ordinals.tolist())
    }


EVENTS = random_events(600, users=40, items=30, seed=5)


@pytest.mark.parametrize("learning", [{"algorithm": "als"}, {"algorithm": "sgd"}], ids=["als", "sgd"])
def test_it_comes_to_the_model_of_one_that_never_stopped(tmp_path, learning):
    place, twin = Place(tmp_path / "a", learning=learning), Place(tmp_path / "b", learning=learning)
    for part in (EVENTS[:200], EVENTS[200:400], EVENTS[400:]):
        twin.publish(part)
        whole = twin.learn()
    place.publish(EVENTS[:200])
    place.learn()
    place.command(COMMAND_ACTION_FREEZE)
    place.publish(EVENTS[200:400])
    frozen = place.learn()
    assert frozen.control.missed_from == {0: 200}
    place.command(COMMAND_ACTION_LEARN_MISSED)
    place.publish(EVENTS[400:])
    engine = place.learn()
    assert engine.model.clock == whole.model.clock > frozen.model.clock
    assert model_of(engine) == model_of(whole)
    assert place.told(CommandResult)[-1].message == "learning goes on, from 200 records ago"
    assert engine.control == Control()
    assert place.verify().agrees


def judged(engine):
    """How much evidence there is, and how much was measured."""
    return engine.model.inputs.added, engine.model.evidence.added, engine.prequential.total.scored


def test_what_was_judged_while_nothing_was_learnt_is_not_judged_again(tmp_path):
    place = Place(tmp_path)
    place.publish(EVENTS[:200])
    before = judged(place.learn())
    place.command(COMMAND_ACTION_FREEZE)
    place.publish(EVENTS[200:400])
    frozen = judged(place.learn())
    assert all(now > then for now, then in zip(frozen, before, strict=True))
    place.command(COMMAND_ACTION_LEARN_MISSED)
    assert judged(place.learn()) == frozen
    place.publish(EVENTS[400:])
    assert all(now > then for now, then in zip(judged(place.learn()), frozen, strict=True))


def test_keys_count_as_seen_only_where_they_were_learnt(tmp_path):
    place = Place(tmp_path)
    place.publish([event("a", "x", event_id="1")])
    assert place.learn().model.clock == 1
    place.command(COMMAND_ACTION_FREEZE)
    place.publish([event("a", "x", event_id="1"), event("a", "y", event_id="2")])
    assert place.learn().model.clock == 1
    place.command(COMMAND_ACTION_LEARN_MISSED)
    place.publish([event("a", "y", event_id="2")])
    assert place.learn().model.clock == 2


def test_it_may_freeze_again_before_it_has_caught_up(tmp_path):
    """And be killed there; what is judged stays judged."""
    place = Place(tmp_path, partitions=3)
    likes = [event(f"u{n % 20}", f"i{n % 31}") for n in range(480)]
    place.publish(likes[:90])
    place.learn()
    place.command(COMMAND_ACTION_FREEZE)
    place.publish(likes[90:])
    frozen = place.learn()
    place.command(COMMAND_ACTION_LEARN_MISSED)
    half = place.learn(turns=3)
    assert 0 < half.model.clock - frozen.model.clock < 200
    assert sum(half.control.seen_through.values()) == 480
    place.command(COMMAND_ACTION_FREEZE)
    again = place.learn()
    assert 90 < sum(again.control.missed_from.values()) < 480
    assert again.control.seen_through == {}
    place.command(COMMAND_ACTION_LEARN_MISSED)
    engine = place.learn()
    assert judged(engine) == judged(frozen)
    assert engine.model.clock == 480
    assert place.verify().agrees


def test_who_resumes_without_it_lets_go_of_what_was_missed(tmp_path):
    place = Place(tmp_path)
    place.command(COMMAND_ACTION_FREEZE)
    place.publish(EVENTS[:200])
    place.learn()
    place.command(COMMAND_ACTION_RESUME)
    assert place.learn().control.missed_from == {}
    place.command(COMMAND_ACTION_LEARN_MISSED)
    assert place.learn().model.clock == 0
    assert place.told(CommandResult)[-1].message == "learning goes on, from 0 records ago"


def test_orders_that_come_together_are_obeyed_in_turn(tmp_path):
    place = Place(tmp_path)
    place.command(COMMAND_ACTION_FREEZE)
    place.publish([event("a", "x")])
    place.learn()
    place.command(COMMAND_ACTION_LEARN_MISSED, COMMAND_ACTION_FREEZE)
    engine = place.learn()
    assert (engine.control.frozen, engine.control.missed_from, engine.model.clock) == (True, {0: 0}, 0)
    place.command(COMMAND_ACTION_RESUME, COMMAND_ACTION_FREEZE, COMMAND_ACTION_LEARN_MISSED)
    place.publish([event("a", "y")])
    engine = place.learn()
    assert (engine.control.learns, engine.model.clock) == (True, 1)


def test_what_the_log_no_longer_has_is_said_and_passed_over(tmp_path, capsys):
    place = Place(tmp_path)
    place.command(COMMAND_ACTION_FREEZE)
    place.publish([event("a", f"i{n}") for n in range(30)])
    place.learn()
    place.log.trim(INTERACTIONS, 0, 10)
    place.command(COMMAND_ACTION_LEARN_MISSED)
    assert place.learn().model.clock == 20
    assert "10 of the missed records are no longer in the log" in capsys.readouterr().out
    assert "begins at 10, and was learnt from 0" in place.verify().spans[0]


def test_a_base_kept_meanwhile_needs_what_lies_before_it(tmp_path):
    """Other settings begin a base while nothing is learnt; the log before it has expired since."""
    place = Place(tmp_path)
    place.publish(EVENTS[:100])
    place.command(COMMAND_ACTION_FREEZE)
    place.learn()
    place.publish(EVENTS[100:200])
    place.learn()
    place.settings = place.settings.model_copy(
        update={"als": place.settings.als.model_copy(update={"recency": 0.9})}
    )
    place.command(COMMAND_ACTION_LEARN_MISSED)
    place.learn()
    assert place.verify().agrees
    place.log.trim(INTERACTIONS, 0, 50)
    verdict = place.verify()
    assert verdict.agrees is None
    assert "begins at 50, and was learnt from 0" in verdict.spans[-1]


def test_of_another_log_nothing_was_missed(tmp_path):
    place = Place(tmp_path)
    place.publish(EVENTS[:100])
    place.learn()
    place.command(COMMAND_ACTION_FREEZE)
    place.publish(EVENTS[100:200])
    place.learn()
    place.log.recreate_topic(INTERACTIONS)
    with pytest.raises(LogChangedError):
        place.learn()
    place.publish(EVENTS[:30])
    engine = place.learn(accept_topic=True)
    assert engine.control.missed_from == {0: 0}
    before = judged(engine)
    place.command(COMMAND_ACTION_LEARN_MISSED)
    engine = place.learn()
    assert engine.model.clock > 0
    assert judged(engine) == before


def test_a_partition_added_meanwhile_is_missed_from_its_start(tmp_path):
    place = Place(tmp_path)
    place.command(COMMAND_ACTION_FREEZE)
    place.learn()
    place.log.add_partition(INTERACTIONS)
    place.log.append(INTERACTIONS, 1, event("a", "x"), b"k")
    assert place.learn(accept_partitions=True).control.missed_from == {0: 0, 1: 0}
    place.command(COMMAND_ACTION_LEARN_MISSED)
    assert place.learn().model.clock == 1


def test_where_the_settings_freeze_nothing_can_be_learnt_afterwards(tmp_path):
    place = Place(tmp_path, learning={"freeze": True})
    place.command(COMMAND_ACTION_LEARN_MISSED)
    place.learn()
    [answer] = place.told(CommandResult)
    assert not answer.applied
    assert "`learning.freeze` is set" in answer.message
