"""Learning pauses when events are not to be trusted, through the real loop and a real store."""

import orjson
import pytest
from memory_learner import LastingLearner
from memory_log import MemorySource
from pipeline import DLQ, INTERACTIONS
from streams import likes_by_taste

from livefactor.dead_letters import collect
from livefactor.drill.faults import plant
from protos.events_pb2 import (
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_LEARN_MISSED,
    COMMAND_ACTION_RESUME,
    DRIFT_ACTION_ROLLBACK,
    DRIFT_ACTION_WARN,
    SEVERITY_ERROR,
    DriftEvent,
)
from stream.config import DriftConfig
from stream.control import Control
from stream.log_reader import scan

BATCH = 100
BEFORE, FAULT, AFTER = 3_000, 600, 900


class Place(LastingLearner):
    """One that is told of rows a minute apart."""

    def __init__(self, directory, act="tell", **sections):
        learning = {"batch_records_max": BATCH, **sections.pop("learning", {})}
        drift = {"act": act}
        super().__init__(directory, ranking={"repeats": True}, learning=learning, drift=drift, **sections)
        self.published = 0

    def publish(self, rows):
        for row in rows:
            self.published += 1
            timed = row | {"event_time_ms": 1_600_000_000_000 + 60_000 * self.published}
            self.log.append(INTERACTIONS, 0, orjson.dumps(timed), b"k")

    def agrees(self):
        """Whether a replay comes to the same state, which would not decide anything by itself."""
        return self.verify(drift=DriftConfig(enabled=False)).agrees


def half_renamed():
    """One of two producers has renamed its fields: every second event of the fault."""
    rows = likes_by_taste(BEFORE + FAULT + AFTER, users=100, items=60, tastes=3)
    renamed = plant(rows, "rename-fields", slice(BEFORE, BEFORE + FAULT), 1)
    faulty = range(BEFORE, BEFORE + FAULT, 2)
    return [renamed[n] if n in faulty else row for n, row in enumerate(rows)]


ROWS = half_renamed()


def test_learning_pauses_at_the_alarm_until_it_is_resumed_and_over_restarts(tmp_path):
    place = Place(tmp_path)
    place.publish(ROWS[: BEFORE + FAULT])
    engine = place.learn()
    [event] = place.told(DriftEvent)
    assert event.reason == "records_rejected"
    assert event.message.endswith("nothing is learnt until `livefactor control resume`")
    assert engine.control.paused == "records_rejected"
    paused_at = engine.model.clock
    assert BEFORE < paused_at < BEFORE + FAULT // 2
    place.publish(ROWS[BEFORE + FAULT :])
    engine = place.learn()
    assert (engine.control.paused, engine.model.clock) == ("records_rejected", paused_at)
    assert engine.model.inputs.added > paused_at, "what is not learnt is still measured"
    place.command(COMMAND_ACTION_RESUME)
    place.publish(ROWS[:BATCH])
    engine = place.learn()
    assert (engine.control.paused, engine.model.clock) == ("", paused_at + BATCH)
    assert len(place.told(DriftEvent)) == 1
    assert place.agrees()


def test_it_goes_on_by_itself_once_the_cause_is_gone_if_it_may(tmp_path):
    place = Place(tmp_path, act="auto")
    place.publish(ROWS[: BEFORE + FAULT])
    engine = place.learn()
    [event] = place.told(DriftEvent)
    assert event.message.endswith("nothing is learnt until this is over")
    paused_at = engine.model.clock
    assert engine.control.paused == "records_rejected"
    place.publish(ROWS[BEFORE + FAULT :])
    engine = place.learn()
    assert engine.control.paused == ""
    assert AFTER - 400 <= engine.model.clock - paused_at < AFTER
    assert place.agrees()


@pytest.mark.parametrize("act", ["tell", "auto"])
def test_who_resumes_in_the_middle_of_it_is_obeyed(tmp_path, act):
    place = Place(tmp_path, act)
    place.publish(ROWS[: BEFORE + FAULT])
    assert place.learn().control.paused
    place.command(COMMAND_ACTION_RESUME)
    place.publish(ROWS[BEFORE : BEFORE + FAULT])
    assert place.learn().control.paused == ""
    assert len(place.told(DriftEvent)) == 1


def test_a_command_to_freeze_outlives_a_pause(tmp_path):
    place = Place(tmp_path, act="auto")
    place.publish(ROWS[: BEFORE + FAULT])
    place.command(COMMAND_ACTION_FREEZE)
    clock = place.learn().model.clock
    place.publish(ROWS[BEFORE + FAULT :])
    engine = place.learn()
    assert (engine.control.paused, engine.control.frozen, engine.model.clock) == ("", True, clock)


def test_a_pushed_item_pauses_too(tmp_path):
    place = Place(tmp_path)
    place.publish(plant(likes_by_taste(5_400, 300, 120, 6), "pump-item", slice(4_800, 5_400), 3))
    engine = place.learn()
    assert "item_pumped" in {event.reason for event in place.told(DriftEvent)}
    assert engine.control.paused == "item_pumped"
    assert engine.model.clock < 5_400
    assert place.agrees()


DIVERGING = {
    "learning": {"feedback": "explicit", "algorithm": "sgd"},
    "sgd": {"adagrad": False, "step": 0.3},
}

CHANGED = {
    "types_doubtful": ({}, {"event_type": "unfriended"}, DRIFT_ACTION_WARN, "'unfriended' ("),
    "updates_refused": (DIVERGING, {"value": 1e6}, DRIFT_ACTION_ROLLBACK, "refused, rows kept as they were"),
}
"""With which settings a producer begins to send what; what helps, and what is said of it."""


@pytest.mark.parametrize("reason", CHANGED)
@pytest.mark.parametrize("act", ["tell", "auto"])
def test_events_that_mean_the_opposite_and_updates_refused_pause_too(tmp_path, reason, act):
    sections, change, action, said = CHANGED[reason]
    place = Place(tmp_path, act, **sections)
    rows = likes_by_taste(BEFORE + FAULT + AFTER, users=100, items=60, tastes=3)
    faulty = range(BEFORE, BEFORE + FAULT, 2)
    rows = [row | {"value": 4.0} | (change if n in faulty else {}) for n, row in enumerate(rows)]
    place.publish(rows[: BEFORE + FAULT])
    engine = place.learn()
    [event] = [event for event in place.told(DriftEvent) if event.severity == SEVERITY_ERROR]
    assert (event.reason, event.action) == (reason, action)
    assert said in event.message
    [where] = event.positions
    assert where.offset == BEFORE
    assert engine.control.paused == reason
    assert engine.model.clock < BEFORE + FAULT // 2
    place.publish(rows[BEFORE + FAULT :])
    ends_by_itself = act == "auto" and reason == "types_doubtful"
    assert place.learn().control.paused == ("" if ends_by_itself else reason)
    assert place.agrees()


def test_no_version_is_kept_to_compare_with_while_nothing_is_learnt(tmp_path):
    """Those from before the fault would have to make room for it."""
    place = Place(tmp_path)
    rows = likes_by_taste(5_000, users=300, items=120, tastes=6)
    place.publish(plant(rows, "rename-fields", slice(4_600, 5_000), 1))
    assert place.learn().control.paused
    versions = place.directory / "state" / "versions"
    before = sorted(path.name for path in versions.iterdir())
    assert before
    place.publish(rows)
    engine = place.learn()
    assert engine.control.paused
    assert engine.model.evidence.added > 2 * 4_096
    assert sorted(path.name for path in versions.iterdir()) == before


def test_what_was_missed_in_a_pause_can_be_learnt_and_is_no_news(tmp_path):
    place = Place(tmp_path)
    place.publish(ROWS)
    engine = place.learn()
    paused_at = engine.model.clock
    assert engine.control.paused == "records_rejected"
    dead = len(place.dead())
    place.command(COMMAND_ACTION_LEARN_MISSED)
    inputs = engine.model.inputs.added
    engine = place.learn()
    assert engine.model.clock == len(ROWS) - FAULT // 2 > paused_at
    assert engine.control == Control()
    assert engine.model.inputs.added == inputs
    assert len(place.told(DriftEvent)) == 1
    letters = collect(scan(MemorySource(place.log, (DLQ,))))
    assert len(letters.letters) == FAULT // 2
    assert letters.duplicates == len(place.dead()) - dead
    assert place.agrees()
