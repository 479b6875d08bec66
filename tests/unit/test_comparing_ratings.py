"""Ratings predicted by the live model, a frozen one and the user's mean, against slow oracles."""

from copy import deepcopy

import numpy as np
import pytest
import twins
from pipeline import Feed, command, event, slot, small_settings

from protos.events_pb2 import COMMAND_ACTION_FREEZE
from state.digest import digest
from state.memory import MemoryStore
from stream.drift.frozen import frozen_of
from stream.engine import Engine
from stream.learning.learner import rating_penalties_of
from stream.walk.rating import DAMPING

USERS, ITEMS = 30, 14
LOW, HIGH = 1.0, 5.0


def engine_of(algorithm="als", enabled=True):
    learning = {"rank": 4, "algorithm": algorithm, "feedback": "explicit"}
    return Engine(small_settings(learning=learning, drift={"enabled": enabled}), MemoryStore())


def ratings(count, seed):
    """Of few users, whose levels differ, on items that differ too."""
    random = np.random.default_rng(seed)
    users, items = random.integers(USERS, size=count), random.integers(ITEMS - 2, size=count)
    values = 3 + np.sin(users) + np.cos(items) + 0.3 * random.standard_normal(count)
    values = values.clip(LOW, HIGH).tolist()
    return [event(f"u{u}", f"i{i}", value=v) for u, i, v in zip(users, items, values, strict=True)]


def warmed(algorithm="als", enabled=True):
    engine, feed = engine_of(algorithm, enabled), Feed()
    engine.process([feed(event("u0", "i0", value=LOW), event("u1", "i1", value=HIGH))])
    for seed in range(4):
        engine.process([feed(*ratings(30, seed))])
    return engine, feed


def freeze(engine, version=7):
    """Compare with the model as it is; a copy of it."""
    kept = deepcopy(engine.model)
    engine.monitor.freeze(version, frozen_of(kept, engine.settings))
    return kept


def expected(engine, kept, user_id, item_id, rating):
    """Squared errors of live, frozen and baseline, before the event."""
    model = engine.model
    user, item = slot(model.users, user_id), slot(model.items, item_id)
    mean, biases = model.globals["mean"][0], model.users.bias[user] + model.items.bias[item]
    live = mean + biases + model.users.vectors[user] @ model.items.vectors[item]
    history, values = model.users.history(user)
    known = kept.items.interactions[history] > 0
    kept_mean, penalties = kept.globals["mean"][0], rating_penalties_of(engine.settings)
    y, kept_biases = kept.items.vectors.astype(np.float64), kept.items.bias.astype(np.float64)
    bias, x = twins.explicit_row(y, kept_biases, history[known], values[known], kept_mean, penalties)
    frozen = kept_mean + bias + kept_biases[item] + x @ y[item]
    baseline = (values.sum() + DAMPING * mean) / (len(values) + DAMPING)
    return [(np.clip(prediction, LOW, HIGH) - rating) ** 2 for prediction in (live, frozen, baseline)]


def has_rated(engine, user, item):
    return slot(engine.model.items, item) in engine.model.users.history(slot(engine.model.users, user))[0]


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_squared_errors_are_those_of_a_slow_oracle_before_the_event(algorithm):
    engine, feed = warmed(algorithm)
    kept = freeze(engine)
    compared = 0
    for n in range(24):
        user, item, rating = f"u{n % USERS}", f"i{n * 5 % (ITEMS - 2)}", LOW + n % 5
        before, is_new = engine.model.evidence.added, not has_rated(engine, user, item)
        errors = expected(engine, kept, user, item, rating)
        engine.process([feed(event(user, item, value=rating))])
        assert engine.model.evidence.added == before + is_new
        if is_new:
            record = engine.model.evidence.latest()[-1]
            assert record["losses"] == pytest.approx(errors, rel=1e-4, abs=1e-6)
            assert np.isnan(record["reciprocal_ranks"]).all()
            assert (record["version"], record["offset"]) == (7, feed.offset - 1)
            compared += 1
    assert compared >= 12


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_how_ratings_fall_into_micro_batches_makes_no_difference(algorithm):
    found = []
    for size in (1, 7, 60):
        engine, feed = warmed(algorithm)
        freeze(engine)
        before, values = engine.model.evidence.added, ratings(60, seed=9)
        for first in range(0, len(values), size):
            engine.process([feed(*values[first : first + size])])
        found.append(engine.model.evidence.latest()[before:]["losses"])
    assert len(found[0]) > 10
    for other in found[1:]:
        assert np.array_equal(other[:, :2], found[0][:, :2])
        np.testing.assert_allclose(other[:, 2], found[0][:, 2], atol=0.3)


def test_what_somebody_does_not_know_is_not_compared():
    engine, feed = warmed()
    engine.process([feed(event("u1", "i12", value=3.0), event("u2", "i12", value=3.0))])
    freeze(engine)
    engine.process([feed(event("u1", "i13", value=3.0))])
    before = engine.model.evidence.added
    engine.process([feed(event("newcomer", "i1", value=3.0), event("u2", "newest", value=3.0))])
    engine.process([feed(event("u2", "i13", value=3.0))])
    engine.process([feed(event("u1", "i12", value=5.0), event("u1", "i12", "remove"))])
    assert engine.model.evidence.added == before
    engine.process([feed(event("newcomer", "i2", value=3.0), event("u1", "i12", value=4.0))])
    assert engine.model.evidence.added == before + 2


def test_without_a_version_two_models_are_compared_after_the_first_micro_batch():
    engine, feed = engine_of(), Feed()
    engine.process([feed(*ratings(60, seed=1))])
    assert engine.model.evidence.added == 0
    engine.process([feed(*ratings(60, seed=2))])
    losses = engine.model.evidence.latest()["losses"]
    assert len(losses) > 10
    assert np.isnan(losses[:, 1]).all()
    assert np.isfinite(losses[:, [0, 2]]).all()


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_the_model_is_judged_while_nothing_is_learnt(algorithm):
    engine, feed = warmed(algorithm)
    kept = freeze(engine)
    control = Feed(engine.settings.topics.control)
    engine.process([control(command(COMMAND_ACTION_FREEZE))])
    pair = next(
        (f"u{u}", f"i{i}")
        for u in range(USERS)
        for i in range(ITEMS - 2)
        if slot(engine.model.users, f"u{u}") >= 0 and not has_rated(engine, f"u{u}", f"i{i}")
    )
    errors = expected(engine, kept, *pair, 2.0)
    for _ in range(2):
        engine.process([feed(event(*pair, value=2.0))])
        assert engine.model.evidence.latest()[-1]["losses"] == pytest.approx(errors, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_comparing_changes_nothing_of_the_model(algorithm):
    stores = []
    for enabled in (True, False):
        engine, feed = warmed(algorithm, enabled)
        if enabled:
            freeze(engine)
        engine.process([feed(*ratings(60, seed=9))])
        assert (engine.model.evidence.added > 0) == enabled
        stores.append(engine.store)
    assert digest(stores[0]) == digest(stores[1])


def test_evidence_survives_a_restart_bit_by_bit():
    def run(restarts):
        engine, feed = warmed()
        for n in range(4):
            if restarts and n == 2:
                engine = Engine(engine.settings, engine.store)
            engine.process([feed(*ratings(20, seed=20 + n))])
        return engine.model.evidence.latest().tobytes()

    assert run(True) == run(False)
