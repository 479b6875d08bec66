"""Evidence in, alarms out: what is raised, when, and how it ends."""

from functools import partial

import numpy as np
import orjson
import pytest

from protos.events_pb2 import (
    DRIFT_ACTION_RETRAIN,
    DRIFT_ACTION_ROLLBACK,
    DRIFT_ACTION_WARN,
    SEVERITY_ERROR,
    SEVERITY_INFO,
    SEVERITY_WARNING,
)
from state.evidence import INPUT, RECORD, Evidence, Inputs
from state.store import VersionId
from stream.config import DriftConfig
from stream.drift.alarm import (
    LIMIT_MAX,
    LIMIT_MIN,
    NEW_NORMAL,
    WARM_UP,
    limit,
)
from stream.drift.announcement import SAMPLES, Place, announce, announce_concentration, announce_shift
from stream.drift.concentration_alarm import JUDGED_MIN, ConcentrationAlarm
from stream.drift.decision import Observed, Taken, decide, decide_concentration
from stream.drift.histograms import QUANTITIES
from stream.drift.loss import LOG_LOSS, SQUARED_ERROR
from stream.drift.loss_alarm import LossAlarm
from stream.drift.series import MEASURES, STEP_EVENTS, USERS_MIN, Series, measured
from stream.drift.shift_alarm import ShiftAlarm
from stream.drift.windows import WINDOW_EVENTS

MINUTE_MS = 60_000
START = 6_000
"""Records before anything happens."""


def records(count, seed=1, live=0.0, frozen=0.0, baseline=0.0, first=0):
    """Losses of 500 users, by whom they differ, with something added to those of each model."""
    random = np.random.default_rng(seed)
    made = np.zeros(count, RECORD)
    users = random.integers(0, 500, count)
    made["user"], made["item"], made["partition"] = users, random.integers(0, 90, count), users % 3
    made["offset"] = np.arange(first, first + count)
    made["time_ms"] = MINUTE_MS * made["offset"]
    common = 6 + 0.5 * np.sin(users) + random.standard_normal(count)
    added = np.array([live, frozen, baseline + 0.6])
    made["losses"] = common[:, None] + 0.5 * random.standard_normal((count, 3)) + added
    made["version"] = 7
    return made


def loss_alarm(evidence, loss=LOG_LOSS, **config):
    """One that knows nothing of popularity."""
    settings = DriftConfig(**config)
    return LossAlarm(evidence, loss, ShiftAlarm(Inputs(), "item popularity", settings), settings)


class Watched:
    """An alarm, and what it raised as (verdict, number of records then)."""

    def __init__(self, seed=1, **config):
        self.evidence = Evidence()
        self.alarm = loss_alarm(self.evidence, **config)
        self.raised, self.seed = [], seed
        self.add(START)

    def add(self, count, portion=40, **added):
        made = records(count, self.seed + self.evidence.added, first=self.evidence.added, **added)
        for begin in range(0, count, portion):
            self.evidence.add(made[begin : begin + portion])
            self.raised += self.alarm.advance()

    @property
    def reasons(self):
        return [raised.verdict.reason for raised in self.raised]


def told(raised):
    """What was raised, without the records."""
    return [each[:3] for each in raised]


CASES = {
    "live": ("taste_lost", DRIFT_ACTION_RETRAIN, SEVERITY_ERROR, {"live": 0.8, "frozen": 0.8}),
    "all": (
        "everything_collapsed",
        DRIFT_ACTION_RETRAIN,
        SEVERITY_ERROR,
        {"live": 2.5, "frozen": 2.5, "baseline": 1.5},
    ),
    "world": (
        "harder_to_predict",
        DRIFT_ACTION_WARN,
        SEVERITY_WARNING,
        {"live": 1.2, "frozen": 1.2, "baseline": 1.2},
    ),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_step_is_found_within_a_window_and_named(case):
    reason, action, severity, added = CASES[case]
    watched = Watched()
    assert watched.raised == []
    watched.add(WINDOW_EVENTS, **added)
    raised = watched.raised[-1]
    assert (raised.verdict.reason, raised.verdict.action, raised.verdict.severity) == (
        reason,
        action,
        severity,
    )
    assert raised.verdict.p_value < LIMIT_MAX
    assert raised.end % STEP_EVENTS == 0
    if case != "world":
        assert abs(raised.since - START) < 60


def squared(count, seed=1, live=0.8, frozen=0.85, baseline=1.0, scale=1.0, first=0):
    """Squared errors of ratings that models explain so much of, in units of `scale`."""
    made = records(count, seed, first=first)
    random = np.random.default_rng(seed)
    common, own = random.standard_normal((count, 1)), random.standard_normal((count, 3))
    errors = (0.9 * common + 0.44 * own) * np.sqrt([live, frozen, baseline])
    made["losses"] = (scale * errors) ** 2
    made["reciprocal_ranks"] = np.nan
    return made


OF_RATINGS = {
    "live": ("taste_lost", {"live": 1.2, "frozen": 1.2}),
    "scale": ("everything_collapsed", {"live": 19.0, "frozen": 19.0, "baseline": 14.0}),
    "other": ("everything_collapsed", {"live": 400.0, "frozen": 420.0, "baseline": 500.0}),
    "world": ("harder_to_predict", {"live": 1.6, "frozen": 1.7, "baseline": 2.0}),
    "harm": ("updates_do_harm", {"live": 1.2}),
    "better": (None, {"live": 0.4}),
    "small": (None, {"live": 0.83}),
    "nothing": (None, {}),
}


@pytest.mark.parametrize("scale", [0.2, 1.0, 20.0])
@pytest.mark.parametrize("case", sorted(OF_RATINGS))
def test_squared_errors_are_judged_whatever_the_scale_of_ratings(case, scale):
    reason, changed = OF_RATINGS[case]
    evidence = Evidence()
    alarm = loss_alarm(evidence, SQUARED_ERROR)
    raised = []
    for count, seed, what in ((START, 1, {}), (2 * WINDOW_EVENTS, 2, changed)):
        made = squared(count, seed, scale=scale, first=evidence.added, **what)
        for begin in range(0, count, 50):
            evidence.add(made[begin : begin + 50])
            raised += alarm.advance()
    reasons = [each.verdict.reason for each in raised]
    assert reason in reasons if reason else reasons == [], f"{case} at scale {scale}: {reasons}"
    if reason in ("taste_lost", "everything_collapsed"):
        assert raised[0].end - 2 * WINDOW_EVENTS < raised[0].since < START + 50


def test_ratings_that_are_all_alike_raise_nothing():
    evidence = Evidence()
    alarm = loss_alarm(evidence, SQUARED_ERROR)
    random = np.random.default_rng(3)
    for size in (1e-14, 1e-10):
        made = squared(START, first=evidence.added)
        made["losses"] = size * random.random((START, 3))
        evidence.add(made)
        assert list(alarm.advance()) == []


def test_updates_that_do_harm_are_found_against_the_frozen_model():
    watched = Watched()
    watched.add(3 * WINDOW_EVENTS, live=0.35)
    assert "updates_do_harm" in watched.reasons
    [harm] = [raised for raised in watched.raised if raised.verdict.reason == "updates_do_harm"]
    assert harm.verdict.action == DRIFT_ACTION_ROLLBACK


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_raised_where_nothing_happens(seed):
    watched = Watched(100_000 * seed)
    watched.add(8_000)
    assert watched.raised == [], f"seed {seed}"


def test_better_is_no_alarm_and_small_is_none_either():
    watched = Watched()
    watched.add(1_500, live=-0.8)
    watched.add(1_500, live=0.05)
    assert watched.raised == []


def test_it_is_raised_once_and_ends_when_things_are_as_before():
    watched = Watched(cool_down_ms=0)
    watched.add(1_000, live=0.8, frozen=0.8)
    assert watched.reasons == ["taste_lost"]
    assert watched.alarm.standing is not None
    watched.add(2 * WINDOW_EVENTS)
    assert watched.alarm.standing is None
    watched.add(WINDOW_EVENTS, live=0.8, frozen=0.8)
    assert watched.reasons == ["taste_lost"] * 2


def test_after_an_alarm_it_is_quiet_for_a_while_by_the_time_of_events():
    watched = Watched(cool_down_ms=2_000 * MINUTE_MS)
    for _ in range(2):
        watched.add(WINDOW_EVENTS, live=0.8, frozen=0.8)
        watched.add(2 * WINDOW_EVENTS)
    assert watched.reasons == ["taste_lost"]
    watched.add(1_000)
    watched.add(WINDOW_EVENTS, live=0.8, frozen=0.8)
    assert watched.reasons == ["taste_lost"] * 2


def test_what_gets_worse_is_told_although_an_alarm_stands():
    watched = Watched()
    watched.add(WINDOW_EVENTS, live=1.2, frozen=1.2, baseline=1.2)
    watched.add(WINDOW_EVENTS, live=3.0, frozen=3.0, baseline=1.2)
    assert watched.reasons == ["harder_to_predict", "everything_collapsed"]
    assert watched.raised[0].since == watched.raised[1].since


def test_what_lasts_becomes_normal():
    watched = Watched()
    watched.add(NEW_NORMAL + WINDOW_EVENTS, live=0.8, frozen=0.8)
    assert watched.alarm.standing is None
    watched.add(3_000, live=0.8, frozen=0.8)
    assert watched.reasons == ["taste_lost"]
    watched.add(WINDOW_EVENTS, live=1.8, frozen=1.8)
    assert watched.reasons == ["taste_lost"] * 2


def test_a_clock_that_jumps_back_silences_nobody():
    watched = Watched(cool_down_ms=10**9)
    watched.add(WINDOW_EVENTS, live=0.8, frozen=0.8)
    watched.add(2 * WINDOW_EVENTS)
    watched.evidence.between(0, 0)
    made = records(WINDOW_EVENTS, 5, live=0.8, frozen=0.8)
    watched.evidence.add(made)
    assert [raised.verdict.reason for raised in watched.alarm.advance()] == ["taste_lost"]


def test_one_user_alone_proves_nothing():
    evidence = Evidence()
    alarm = loss_alarm(evidence)
    made = records(9_000)
    made["user"] = 1
    made["losses"][8_700:, 0] = made["losses"][8_700:, 2]
    evidence.add(made)
    assert all(raised.verdict.reason != "updates_do_harm" for raised in alarm.advance())


@pytest.mark.parametrize(("users", "judged"), [(USERS_MIN - 1, False), (40, True)])
def test_a_window_of_a_few_users_says_nothing(users, judged):
    evidence = Evidence()
    alarm = loss_alarm(evidence)
    evidence.add(records(START))
    list(alarm.advance())
    made = records(WINDOW_EVENTS, 2, live=5.0, frozen=5.0, first=START)
    made["user"] %= users
    evidence.add(made)
    list(alarm.advance())
    assert (alarm.latest < LIMIT_MAX) == judged
    assert judged or alarm.latest == 1.0


def test_a_young_model_has_no_reference():
    evidence = Evidence()
    alarm = loss_alarm(evidence)
    evidence.add(records(WARM_UP + 7 * WINDOW_EVENTS))
    evidence.add(records(WINDOW_EVENTS, live=5.0, frozen=5.0))
    assert list(alarm.advance()) == []


@pytest.mark.parametrize("portion", [1, 37, 400, 5_000])
def test_how_events_fall_into_micro_batches_makes_no_difference(portion):
    watched = Watched()
    watched.add(2_000, portion, live=0.8, frozen=0.8)
    watched.add(1_000, portion)
    other = Watched()
    other.add(2_000, 50, live=0.8, frozen=0.8)
    other.add(1_000, 50)
    assert told(watched.raised) == told(other.raised)
    assert watched.alarm.pack() == other.alarm.pack()


@pytest.mark.parametrize("at", [0, 100, 260, 1_000])
def test_it_goes_on_after_a_restart_as_if_there_had_been_none(at):
    steady = Watched()
    steady.add(at, live=0.8, frozen=0.8)
    anew = loss_alarm(steady.evidence)
    anew.restore(steady.alarm.pack())
    assert anew.pack() == steady.alarm.pack()
    added = records(900, 4, live=0.8, frozen=0.8, first=steady.evidence.added)
    steady.evidence.add(added)
    assert told(anew.advance()) == told(steady.alarm.advance())
    assert anew.pack() == steady.alarm.pack()


def test_a_young_alarm_survives_its_memo():
    evidence = Evidence()
    alarm, anew = loss_alarm(evidence), loss_alarm(evidence)
    evidence.add(records(WARM_UP + 3 * WINDOW_EVENTS))
    assert list(alarm.advance()) == []
    anew.restore(orjson.loads(orjson.dumps(alarm.pack())))
    assert anew.latest == alarm.latest == 1.0


def test_what_was_there_before_it_watched_is_not_tested():
    evidence = Evidence()
    evidence.add(records(START))
    evidence.add(records(WINDOW_EVENTS, live=0.8, frozen=0.8))
    alarm = loss_alarm(evidence)
    alarm.restore({})
    assert list(alarm.advance()) == []


def test_a_series_follows_from_the_evidence_alone():
    one, portions = Evidence(), Evidence()
    made = records(20_000)
    one.add(made)
    measure = partial(measured, LOG_LOSS)
    series, kept = Series(portions, measure, MEASURES), Series(one, measure, MEASURES)
    for begin in range(0, len(made), 900):
        portions.add(made[begin : begin + 900])
        if portions.added > WINDOW_EVENTS:
            series.within(0, portions.added)
    assert np.array_equal(series.within(0, 20_000), kept.within(0, 20_000))
    assert len(kept.within(0, 20_000)) > 300


def test_the_limit_follows_from_the_pace_and_the_rate():
    paced = records(3_000)
    month = 30 * 24 * 60 / WINDOW_EVENTS
    assert limit(paced, 0.01) == pytest.approx(0.01 / month, rel=0.01)
    assert limit(paced, 10.0) == LIMIT_MAX
    paced["time_ms"] = 5
    assert limit(paced, 0.01) == LIMIT_MIN


def test_the_table_of_decisions():
    nan = float("nan")
    for observed, reason in (
        (Observed(1e-4, 1e-4, 0.3, 0.2, 1.0, 1.0), "taste_lost"),
        (Observed(1e-4, 1e-4, 1e-4, 0.2, 1.0, 1.0), "everything_collapsed"),
        (Observed(0.2, 1e-4, 1e-4, 0.2, 1.0, 1.0), "harder_to_predict"),
        (Observed(0.2, 1e-4, 1e-4, 1.5, 1.0, 1.0), "everything_collapsed"),
        (Observed(0.2, 1e-4, 0.3, 1.5, 1.0, 1.0), None),
        (Observed(0.2, 0.3, 1e-4, 1.5, 1.0, 1.0), None),
        (Observed(0.2, 1e-4, 0.3, 0.2, 1.0, 1.0), None),
        (Observed(0.02, 0.02, 0.02, 0.2, 1.0, 1e-4), "everything_collapsed"),
        (Observed(0.2, 0.02, 0.02, 0.2, 1.0, 1e-4), None),
        (Observed(0.02, 0.02, 0.3, 0.2, 1.0, 1e-4), None),
        (Observed(1e-4, 1e-4, 0.3, 0.2, 1e-4, 1.0), "updates_do_harm"),
        (Observed(nan, nan, nan, 0.2, nan, nan), None),
    ):
        verdict = decide(observed, 1e-3)
        assert (verdict and verdict.reason) == reason


def names(ordinals):
    return [b"i%d" % ordinal for ordinal in ordinals]


PLACE = Place("films", VersionId(1, 3), "events", names, names)


def test_an_announcement_says_what_where_and_what_to_do():
    watched = Watched()
    watched.add(WINDOW_EVENTS, live=0.8, frozen=0.8)
    [raised] = watched.raised

    def event(batch_seq):
        place = PLACE._replace(here=VersionId(1, batch_seq))
        return announce(raised, LOG_LOSS, watched.evidence, Inputs(), VersionId(1, 7), place)

    told = event(90)
    assert told == event(90)
    assert told.id != event(91).id
    assert (told.model, told.version, told.reason) == ("films", "g1.7", "taste_lost")
    assert [window.name for window in told.windows] == [
        f"{window}/{model}" for window in ("reference", "current") for model in ("live", "frozen", "baseline")
    ]
    before, after = told.windows[0], told.windows[3]
    assert after.mean_loss - before.mean_loss == pytest.approx(0.8, abs=0.45)
    assert before.last_ms <= after.first_ms
    assert f"{before.mean_loss:.2f} -> {after.mean_loss:.2f}" in told.message
    assert "retrain" in told.message
    assert {(where.topic, where.partition) for where in told.positions} == {("events", p) for p in range(3)}
    assert all(abs(where.offset - START) < 60 for where in told.positions)
    assert len(told.samples) == SAMPLES
    assert set(told.samples[0].losses) == {"live", "frozen", "baseline"}
    assert told.samples[0].item_id.startswith("i")


ITEM = 77


def sampled(count, share=0.0, repeated=0.0, first=0):
    """Events about 200 items, a share of them about one, and a share of those had by their users already."""
    random = np.random.default_rng(first + 1)
    made = np.zeros(count, INPUT)
    made["user"], made["item"] = random.integers(0, 500, count), 100 + random.integers(0, 200, count)
    about = random.random(count) < share
    made["item"][about], made["repeated"] = ITEM, about & (random.random(count) < repeated)
    made["partition"], made["offset"] = made["user"] % 3, np.arange(first, first + count)
    made["time_ms"] = MINUTE_MS * made["offset"]
    return made


@pytest.fixture(params=["item"])
def watched_inputs(request):
    inputs, losses = Inputs(), loss_alarm(Evidence())
    inputs.add(sampled(START))
    alarm = ConcentrationAlarm(inputs, request.param, losses, DriftConfig())
    assert list(alarm.advance()) == []
    return inputs, alarm, losses


def test_an_item_that_everybody_gets_again_is_named(watched_inputs):
    inputs, alarm, _ = watched_inputs
    inputs.add(sampled(WINDOW_EVENTS, 0.2, 0.3, START))
    [raised] = alarm.advance()
    assert (raised.verdict.reason, raised.verdict.action) == ("item_pumped", DRIFT_ACTION_ROLLBACK)
    told = announce_concentration(raised, "item", inputs, PLACE)
    assert told.segment == f"item i{ITEM}"
    assert f"'i{ITEM}' (0.0% before)" in told.message
    assert {where.partition for where in told.positions} == {0, 1, 2}
    assert min(where.offset for where in told.positions) == raised.since
    assert START <= raised.since < START + 30


@pytest.mark.parametrize(("skill", "count"), [(0.5, 0), (0.001, 1)])
def test_a_popular_item_is_no_fault_while_the_model_keeps_its_lead(watched_inputs, skill, count):
    inputs, alarm, losses = watched_inputs
    losses.latest = skill
    inputs.add(sampled(WINDOW_EVENTS, 0.5, 0.0, START))
    assert len(list(alarm.advance())) == count


@pytest.mark.parametrize(
    ("loss", "buyers", "count"), [(3.0, 500, 1), (1.0, 500, 0), (3.0, JUDGED_MIN - 1, 0), (np.nan, 500, 0)]
)
def test_an_item_that_the_model_would_not_have_shown_to_its_users_is_named(
    watched_inputs, loss, buyers, count
):
    inputs, alarm, _ = watched_inputs
    random = np.random.default_rng(5)
    made = sampled(WINDOW_EVENTS, 0.2, 0.0, START)
    made["losses"] = random.normal(loss, 0.5, (len(made), 1))
    made["user"][made["item"] == ITEM] %= buyers
    inputs.add(made)
    assert len(list(alarm.advance())) == count


@pytest.mark.parametrize(("of", "entry"), [("item", {"item": ITEM}), ("user", {"user": 7})])
@pytest.mark.parametrize(
    ("loss", "repeated", "count"), [(LOG_LOSS, 0, 1), (SQUARED_ERROR, 0, 0), (SQUARED_ERROR, 1, 1)]
)
def test_of_ratings_only_repeats_are_a_second_sign(of, entry, loss, repeated, count):
    inputs, losses = Inputs(), loss_alarm(Evidence(), loss)
    losses.latest = 1e-9
    inputs.add(sampled(START))
    alarm = ConcentrationAlarm(inputs, of, losses, DriftConfig())
    assert list(alarm.advance()) == []
    made = sampled(WINDOW_EVENTS, 0.0, 0.0, START)
    made["losses"] = np.random.default_rng(5).normal([9.0, 9.0, 5.0], 0.5, (len(made), 3))
    for name, value in entry.items():
        made[name][::4] = value
    made["repeated"][::4] = repeated
    inputs.add(made)
    assert len(list(alarm.advance())) == count


@pytest.mark.parametrize("watched_inputs", ["user"], indirect=True)
@pytest.mark.parametrize(
    ("live", "repeated", "share", "count"),
    [(6.0, 0.0, 0.2, 1), (4.0, 0.0, 0.2, 0), (4.0, 0.3, 0.2, 1), (6.0, 0.3, 0.05, 0), (np.nan, 0.0, 0.2, 0)],
)
def test_a_user_whom_the_model_cannot_follow_is_named(watched_inputs, live, repeated, share, count):
    inputs, alarm, losses = watched_inputs
    losses.latest = 1e-9
    random = np.random.default_rng(5)
    made = sampled(WINDOW_EVENTS, first=START)
    program = random.random(len(made)) < share
    made["user"][program] = ITEM
    made["repeated"] = program & (random.random(len(made)) < repeated)
    made["losses"] = random.normal(5.0, 0.5, (len(made), 3))
    made["losses"][program, 0] = random.normal(live, 0.5, program.sum())
    inputs.add(made)
    raised = list(alarm.advance())
    assert len(raised) == count
    if raised:
        told = announce_concentration(raised[0], "user", inputs, PLACE)
        assert (told.reason, told.segment) == ("user_floods", f"user i{ITEM}")
        assert min(where.offset for where in told.positions) == raised[0].since


def test_one_user_who_repeats_is_no_fault_where_nobody_did(watched_inputs):
    inputs, alarm, _ = watched_inputs
    made = sampled(WINDOW_EVENTS, 0.5, 0.0, START)
    made["repeated"][np.flatnonzero(made["item"] == ITEM)[:5]] = True
    inputs.add(made)
    assert list(alarm.advance()) == []


def test_repeats_of_many_items_are_no_fault(watched_inputs):
    inputs, alarm, _ = watched_inputs
    made = sampled(WINDOW_EVENTS, first=START)
    made["repeated"][::2] = True
    inputs.add(made)
    assert list(alarm.advance()) == []


CHANGES = {
    "values": ("value", 20.0),
    "event types": ("weight", 3.0),
    "item popularity": ("popularity", 0.1),
    "user history": ("user_events", 0.0),
    "pace": ("time_ms", 0.2),
}
"""A column for each quantity, and what it is multiplied with."""


def shaped(count, first=0, **changed):
    """Sampled events of many users, with values, types and counts."""
    random = np.random.default_rng(first + 7)
    made = sampled(count, first=first)
    made["value"], made["weight"] = random.integers(1, 6, count), random.choice([1.0, 5.0], count)
    made["popularity"], made["user_events"] = random.gamma(2, 2, count), random.integers(0, 30, count)
    made["time_ms"] = 1_000 * (first + np.cumsum(random.exponential(MINUTE_MS / 1_000, count)))
    for name, by in changed.items():
        made[name] = made[name] * by
    return made


class Shifting:
    """Shift alarms of all quantities, and what they raised by name."""

    def __init__(self, **config):
        self.inputs = Inputs()
        self.alarms = {name: ShiftAlarm(self.inputs, name, DriftConfig(**config)) for name in QUANTITIES}
        self.raised = []

    def add(self, made, portion=40):
        for begin in range(0, len(made), portion):
            self.inputs.add(made[begin : begin + portion])
            for name, alarm in self.alarms.items():
                self.raised += [(name, raised) for raised in alarm.advance()]


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_quantity_that_moved_is_named_once(name):
    shifting = Shifting()
    shifting.add(shaped(START))
    column, by = CHANGES[name]
    shifting.add(shaped(3 * WINDOW_EVENTS, START, **{column: by}))
    [(found, raised)] = shifting.raised
    assert found == name
    verdict = raised.verdict
    assert (verdict.reason, verdict.action, verdict.severity) == (
        "inputs_moved",
        DRIFT_ACTION_WARN,
        SEVERITY_INFO,
    )
    assert raised.end <= START + 2 * WINDOW_EVENTS
    assert abs(raised.since - START) < WINDOW_EVENTS
    told = announce_shift(raised, name, shifting.inputs, PLACE)
    assert told.segment == name
    assert f"differ from those before in {name} (median" in told.message
    assert {where.partition for where in told.positions} == {0, 1, 2}


def test_what_two_alarms_say_of_the_same_records_has_two_ids():
    shifting = Shifting()
    shifting.add(shaped(START))
    shifting.add(shaped(2 * WINDOW_EVENTS, START, value=20.0, weight=3.0))
    told = [announce_shift(raised, name, shifting.inputs, PLACE) for name, raised in shifting.raised]
    assert [event.segment for event in told] == ["values", "event types"]
    assert told[0].id != told[1].id
    assert "median 3 -> 60" in told[0].message


def test_values_that_stop_coming_are_noticed():
    shifting = Shifting()
    shifting.add(shaped(START))
    shifting.add(shaped(2 * WINDOW_EVENTS, START, value=np.nan))
    [(name, raised)] = shifting.raised
    assert name == "values"
    assert "median 3 -> none" in announce_shift(raised, name, shifting.inputs, PLACE).message


def test_a_few_users_with_another_habit_are_no_shift():
    shifting = Shifting()
    shifting.add(shaped(START))
    made = shaped(3 * WINDOW_EVENTS, START, value=20.0, popularity=0.1)
    made["user"] %= 5
    shifting.add(made)
    assert shifting.raised == []
    assert shifting.alarms["values"].latest == 1.0


def test_what_a_stream_does_now_and_then_is_no_shift():
    shifting = Shifting()
    for first in range(0, 3 * START, WINDOW_EVENTS):
        by = 20.0 if first // WINDOW_EVENTS % 3 == 2 else 1.0
        shifting.add(shaped(WINDOW_EVENTS, first, value=by))
    assert [name for name, _ in shifting.raised if name == "values"] == []


def test_a_shift_alarm_goes_on_after_a_restart():
    shifting, anew = Shifting(), Shifting()
    shifting.add(shaped(START))
    shifting.add(shaped(2 * WINDOW_EVENTS, START, value=20.0))
    anew.inputs.apply(shifting.inputs.changed_since(0))
    more = shaped(900, START + 600, value=20.0)
    for name, alarm in anew.alarms.items():
        alarm.restore(orjson.loads(orjson.dumps(shifting.alarms[name].pack())))
    for each in (shifting, anew):
        each.add(more)
    assert {name: alarm.pack() for name, alarm in anew.alarms.items()} == {
        name: alarm.pack() for name, alarm in shifting.alarms.items()
    }


@pytest.mark.parametrize("seed", range(20))
def test_a_stationary_stream_moves_nothing(seed):
    shifting = Shifting()
    shifting.add(shaped(9_000, 10_000_000 * (seed + 1)), 1_000)
    assert shifting.raised == [], f"seed {seed}"


def test_the_table_of_decisions_on_inputs():
    quiet = Taken(1.0, 1.0, 1.0, 1.0)
    crowd = quiet._replace(share=1e-4)
    for second in ({"repeated": 1e-4}, {"blind": 0.04}, {"skill": 0.04}):
        found = decide_concentration("item", crowd._replace(**second), 1e-3)
        assert (found.reason, found.detector, found.p_value) == ("item_pumped", "block_test", 1e-4)
    found = decide_concentration("item", quiet._replace(share=0.04, blind=1e-5), 1e-3)
    assert (found.reason, found.detector, found.p_value) == ("item_pumped", "paired_test", 1e-5)
    nobody_knows = {"repeated": np.nan, "blind": np.nan, "skill": np.nan}
    for taken in (
        crowd,
        crowd._replace(repeated=0.01, blind=0.06, skill=0.06),
        crowd._replace(**nobody_knows),
        quiet._replace(repeated=1e-4, blind=1e-4, skill=1e-4),
        quiet._replace(share=0.04, repeated=1e-4, skill=1e-4),
    ):
        assert decide_concentration("item", taken, 1e-3) is None
