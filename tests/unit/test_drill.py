"""Faults as they are planted, and what a drill says of them."""

from collections import Counter

import numpy as np
import orjson
import pytest
from streams import likes_by_taste, random_likes, ratings_by_taste

from livefactor.commands.drill import NAMES
from livefactor.drill.faults import FAULTS, PUMPED_SHARE, RENAMED, RESCALED_BY, plant
from livefactor.drill.report import plots
from livefactor.drill.run import Alarm, Course, Plan, facts, run
from livefactor.settings import Settings
from protos.events_pb2 import (
    DRIFT_ACTION_RETRAIN,
    SEVERITY_ERROR,
    SEVERITY_WARNING,
    DriftEvent,
)
from state.errors import ConfigError
from stream.drift.loss import LOG_LOSS, SQUARED_ERROR

ROWS = [row | {"value": 4.0} for row in random_likes(2_000, users=100, items=40)]
PART = slice(1_000, 1_400)


def test_the_command_names_every_fault():
    assert NAMES.split("|") == list(FAULTS)


def items(rows):
    return [row["item_id"] for row in rows]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_stays_in_its_part_and_follows_from_its_seed(fault):
    planted = plant(ROWS, fault, PART, 7)
    assert len(planted) == len(ROWS)
    assert planted[:1_000] == ROWS[:1_000]
    assert planted[1_400:] == ROWS[1_400:]
    assert (planted == ROWS) == (fault == "none")
    assert planted == plant(ROWS, fault, PART, 7)
    random = fault not in ("none", "rename-fields", "rescale-values")
    assert (planted != plant(ROWS, fault, PART, 8)) == random


def test_permuted_items_are_another_one_each():
    before, after = items(ROWS[PART]), items(plant(ROWS, "permute-items", PART, 1)[PART])
    assert len(set(zip(before, after, strict=True))) == len(set(before)) == len(set(after))


def test_shuffled_labels_are_the_same_items_for_others():
    planted = plant(ROWS, "shuffle-labels", PART, 1)
    assert Counter(items(planted[PART])) == Counter(items(ROWS[PART]))
    assert [row["user_id"] for row in planted] == [row["user_id"] for row in ROWS]


def test_a_pumped_item_takes_its_share():
    (_, often), *_ = Counter(items(plant(ROWS, "pump-item", PART, 1)[PART])).most_common()
    assert often / 400 == pytest.approx(PUMPED_SHARE, abs=0.1)


def test_a_gradual_fault_grows():
    planted = plant(ROWS, "gradual", PART, 1)[PART]
    changed = np.array(items(planted)) != np.array(items(ROWS[PART]))
    assert changed[:100].mean() < 0.4 < 0.7 < changed[300:].mean()


def test_values_are_rescaled_and_fields_renamed():
    assert plant(ROWS, "rescale-values", PART, 1)[1_200]["value"] == RESCALED_BY * 4.0
    assert set(plant(ROWS, "rename-fields", PART, 1)[1_200]) == {*RENAMED.values(), "value"}


def test_how_long_a_fault_lasts():
    assert Plan("shuffle-labels").part(1_000) == slice(500, 600)
    assert Plan("permute-items").part(1_000) == slice(500, 1_000)
    assert Plan("shuffle-labels", 0.95).part(1_000) == slice(950, 1_000)
    assert Plan("permute-items", 0.2, 0.3).part(1_000) == slice(200, 300)


def alarm(at, severity=SEVERITY_ERROR):
    return Alarm(at, DriftEvent(severity=severity, action=DRIFT_ACTION_RETRAIN, reason="taste_lost"))


def test_what_is_reported():
    losses = np.full((1_000, 3), np.nan)
    losses[100:, 0] = 2.0
    worse = losses.copy()
    worse[500:510, 0] = 3.0
    worse[520, 0] = np.nan
    alarms = alarm(200), alarm(510, SEVERITY_WARNING), alarm(540), alarm(700)
    ranks = np.full((1_000, 3), np.nan)
    twin = Course(LOG_LOSS, losses, ranks, ())
    found = facts(Plan("shuffle-labels"), Course(LOG_LOSS, worse, ranks, alarms), twin)
    assert found == {
        "fault": "shuffle-labels",
        "at_event": 500,
        "detected_event": 540,
        "delay_events": 40,
        "action": "RETRAIN",
        "reason": "taste_lost",
        "recovered_event": None,
        "loss_area_vs_twin": 10.0,
        "false_alarms": 1,
        "events": 1_000,
    }
    nothing = facts(Plan("none"), Course(LOG_LOSS, losses, ranks, alarms), twin)
    assert (nothing["detected_event"], nothing["false_alarms"]) == (None, 3)


def test_a_drill_finds_a_fault_and_leaves_its_twin_alone(capfd):
    rows = likes_by_taste(6_000, users=300, items=120, tastes=6)
    settings = Settings(
        learning={"rank": 4},
        ranking={"repeats": True},
        prequential={"sample_every": 1, "work_max": 10**9},
        state={"items_max": 1_000},
    )
    plan, heard = Plan("shuffle-labels", at=0.85), []
    disturbed, twin = run(rows, settings, plan, heard.append)
    assert capfd.readouterr().out == "", "standard output is for what was found"
    found = facts(plan, disturbed, twin)
    assert (found["action"], found["reason"]) == ("RETRAIN", "taste_lost")
    assert 0 < found["delay_events"] < 600
    assert found["false_alarms"] == 0
    assert found["loss_area_vs_twin"] > 10
    assert twin.alarms == ()
    assert np.array_equal(disturbed.losses[:5_100], twin.losses[:5_100], equal_nan=True)
    assert np.isfinite(twin.losses[5_100:, 1]).any(), "no version was compared with"
    assert heard == sorted(heard)
    assert heard[-1] == 6_000
    judged = np.isfinite(twin.losses[:, 0])
    assert np.array_equal(judged, (twin.reciprocal_ranks[:, 0] > 0) & (twin.reciprocal_ranks[:, 0] <= 1))


def test_a_drill_on_ratings_finds_a_fault_and_says_so_in_squared_errors():
    rows = ratings_by_taste(6_000, users=100, items=120, tastes=2)
    settings = Settings(
        learning={"rank": 4, "feedback": "explicit"},
        prequential={"sample_every": 1, "work_max": 10**9},
        state={"items_max": 1_000},
    )
    plan = Plan("permute-items", at=0.85)
    disturbed, twin = run(rows, settings, plan)
    found = facts(plan, disturbed, twin)
    assert (found["action"], found["reason"]) == ("RETRAIN", "taste_lost")
    assert 0 < found["delay_events"] < 600
    assert found["false_alarms"] == 0
    assert twin.alarms == ()
    error = next(alarm.event for alarm in disturbed.alarms if alarm.event.severity == SEVERITY_ERROR)
    assert "lead over the mean of each user (squared error 0." in error.message
    assert disturbed.loss is SQUARED_ERROR
    assert "reciprocal_rank" not in plots("ratings.csv", plan, disturbed, twin)["whole"]


def test_what_is_plotted():
    random = np.random.default_rng(3)
    losses, ranks = random.gamma(2, 1, (2, 1_000, 3))
    losses[::3] = ranks[::3] = np.nan
    worse = losses.copy()
    worse[500:510, 0] += 1.0
    plan = Plan("shuffle-labels")
    disturbed, twin = Course(LOG_LOSS, worse, ranks, (alarm(540),)), Course(LOG_LOSS, losses, ranks, ())
    drawn = plots("events.csv", plan, disturbed, twin)
    assert drawn["fault"] == {"begins": 500, "ends": 600, "none": False}
    assert drawn["alarms"][0] | {"message": ""} == {
        "at": 540,
        "severity": "error",
        "action": "RETRAIN",
        "reason": "taste_lost",
        "segment": "",
        "message": "",
    }
    whole = drawn["whole"]
    assert (whole["events"][0], whole["events"][-1]) == (300, 1_000)
    for measure, values in (("loss", worse), ("reciprocal_rank", ranks)):
        means = [whole[measure][name][-1] for name in ("live", "frozen", "baseline")]
        np.testing.assert_allclose(means, np.nanmean(values[-300:], axis=0), rtol=1e-4)
    undisturbed = whole["loss"]["live, undisturbed"]
    assert undisturbed[-1] == pytest.approx(np.nanmean(losses[-300:, 0]), rel=1e-4)
    assert drawn["area"]["sums"][-1] == pytest.approx(
        facts(plan, disturbed, twin)["loss_area_vs_twin"], rel=1e-4
    )
    assert drawn["area"]["sums"][0] == 0


@pytest.mark.parametrize("events", [1, 5, 299, 301])
@pytest.mark.parametrize("fault", ["none", "permute-items"])
def test_tiny_streams_are_plotted_too(events, fault):
    nothing = np.full((events, 3), np.nan)
    course = Course(LOG_LOSS, nothing, nothing, ())
    drawn = plots("events.csv", Plan(fault), course, course)
    assert drawn["whole"]["events"][-1] == events
    assert set(drawn["close"]["loss"]["live"]) == {None}
    assert orjson.dumps(drawn)


def test_a_drill_needs_comparisons():
    with pytest.raises(ConfigError, match="enabled"):
        run(ROWS, Settings(drift={"enabled": False}), Plan("none"))
