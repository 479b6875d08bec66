"""A fault that is about a part of the events is told with that part, and no other is."""

import numpy as np
import pytest
from streams import likes_by_taste

from livefactor.drill.faults import plant
from livefactor.drill.run import course_of
from livefactor.settings import Settings
from state.evidence import INPUT, RECORD
from stream.drift.segments import EVENTS_MIN, compared, segment_of

BEFORE, CURRENT = 3_000, 300
PARTS = {
    "users with fewer than 5 events": lambda records: records["user_events"] < 5,
    "users with 5 events and more": lambda records: records["user_events"] >= 5,
    "items less popular than the mean": lambda records: records["popularity"] < 1,
    "items more popular than the mean": lambda records: records["popularity"] >= 1,
    "event types of weight 5": lambda records: records["weight"] == 5,
}


def records(count, seed, new=0.4, rare=0.4, heavy=0.3):
    """Compared events; each property has its share, and new users are harder to predict."""
    random = np.random.default_rng(seed)
    made = np.zeros(count, INPUT)
    made["user"] = random.integers(0, 400, count)
    made["user_events"] = np.where(random.random(count) < new, 2, 40)
    made["popularity"] = np.where(random.random(count) < rare, 0.2, 6.0)
    made["weight"] = np.where(random.random(count) < heavy, 5.0, 1.0)
    made["losses"] = 6 + random.standard_normal((count, 3)) + 2.0 * (made["user_events"] < 5)[:, None]
    return made


@pytest.mark.parametrize(
    "reason", ["updates_do_harm", "taste_lost", "everything_collapsed", "harder_to_predict"]
)
@pytest.mark.parametrize("part", PARTS)
def test_the_part_in_which_it_rose_is_named(part, reason):
    shares = {"new": 0.7} if part == "users with 5 events and more" else {}
    shares |= {"rare": 0.7} if part == "items more popular than the mean" else {}
    before, current = records(BEFORE, 1, **shares), records(CURRENT, 2, **shares)
    current["losses"][:, 0] += 3.0 * PARTS[part](current)
    assert segment_of(reason, before, current) == part


def test_what_rose_everywhere_has_no_part():
    for seed in range(20):
        before, current = records(BEFORE, seed), records(CURRENT, 100 + seed)
        current["losses"][:, 0] += 1.5
        assert segment_of("taste_lost", before, current) == ""


def test_more_events_of_a_hard_part_are_no_fault_of_it():
    before, current = records(BEFORE, 1, new=0.2), records(CURRENT, 2, new=0.45)
    assert segment_of("harder_to_predict", before, current) == ""


def test_the_smallest_part_is_named():
    before, current = records(BEFORE, 1), records(CURRENT, 2)
    for made in (before, current):
        made["user_events"] = np.where(made["weight"] == 5, 2, made["user_events"])
    current["losses"][:, 0] += 3.0 * (current["weight"] == 5)
    assert segment_of("taste_lost", before, current) == "event types of weight 5"


def test_of_few_events_nobody_can_tell():
    before, current = records(BEFORE, 1), records(CURRENT, 2)
    current["weight"] = 1.0
    current["weight"][: EVENTS_MIN - 1] = 7.0
    before["weight"][: BEFORE // 2] = 7.0
    current["losses"][:, 0] += 30.0 * (current["weight"] == 7)
    assert segment_of("taste_lost", before, current) == ""
    assert segment_of("taste_lost", before[:0], current) == ""


def test_events_are_found_by_their_place_in_the_log():
    inputs, events = np.zeros(6, INPUT), np.zeros(2, RECORD)
    inputs["partition"], inputs["offset"] = [0, 1, 0, 1, 0, 1], [7, 7, 8, 8, 9, 9]
    events["partition"], events["offset"] = [1, 0], [8, 9]
    assert compared(inputs, events)["offset"].tolist() == [8, 9]
    assert compared(inputs, events)["partition"].tolist() == [1, 0]


def test_through_the_learner_a_producer_that_joins_its_events_wrongly_is_told():
    """Every third event is of another producer; from the fault on its items are someone else's."""
    rows = likes_by_taste(6_000, users=300, items=120, tastes=6)
    rows = [row | {"event_type": "play" if n % 3 == 0 else "save"} for n, row in enumerate(rows)]
    theirs = plant(rows[::3], "shuffle-labels", slice(1_667, None), 1)
    merged = [theirs[n // 3] if n % 3 == 0 else row for n, row in enumerate(rows)]
    settings = Settings(
        learning={"rank": 4},
        decode={"event_weights": {"play": 1.0, "save": 2.0}},
        ranking={"repeats": True},
        prequential={"sample_every": 1, "work_max": 10**9},
    )
    alarms = [alarm.event for alarm in course_of(merged, settings).alarms if alarm.at >= 5_000]
    [event] = [event for event in alarms if event.reason == "taste_lost"]
    assert event.segment == "event types of weight 1"
    assert event.message.endswith("; it is so among event types of weight 1, and not among others")
