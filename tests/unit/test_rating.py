"""Ratings predicted before they are learnt: the simple models by twin and by river, the errors by hand."""

import numpy as np
import pytest
from river import optim, reco, stats
from streams import replayed, settings, stream

from state.errors import ConfigError
from stream.evaluation.rating import Baseline, Errors, RunningMean
from stream.learning.ratings_seen import clip_seen
from stream.replay import Plan

EXPLICIT = {"learning": {"rank": 4, "feedback": "explicit", "algorithm": "sgd"}}


def ratings(count=400, seed=1):
    """(users, items, ratings) of few users and items."""
    random = np.random.default_rng(seed)
    users, items = random.integers(9, size=count), random.integers(7, size=count)
    return users, items, random.integers(1, 6, count).astype(np.float32)


def in_two(predict, *columns):
    """Predictions of two batches one after the other."""
    return np.concatenate([predict(*(c[:150] for c in columns)), predict(*(c[150:] for c in columns))])


def test_running_mean_agrees_with_river():
    users, items, values = ratings()
    mean, expected = stats.Mean(), []
    for value in values.tolist():
        expected.append(mean.get())
        mean.update(value)
    np.testing.assert_allclose(in_two(RunningMean().predict, users, items, values), expected)


def test_baseline_agrees_with_river():
    users, items, values = ratings()
    model, expected = reco.Baseline(optimizer=optim.SGD(0.025)), []
    for user, item, value in zip(users.tolist(), items.tolist(), values.tolist(), strict=True):
        expected.append(model.predict_one(user, item))
        model.learn_one(user, item, y=value)
    np.testing.assert_allclose(in_two(Baseline(9, 7).predict, users, items, values), expected)


def test_predictions_are_clipped_to_the_ratings_seen_before_each():
    predictions = np.array([9.0, 9.0, 9.0, -9.0])
    bounds = np.array([np.inf, -np.inf])
    clip_seen(predictions, np.array([3, 5, 1, 1], np.float32), bounds)
    assert predictions.tolist() == [9.0, 3.0, 5.0, 1.0]
    assert bounds.tolist() == [1.0, 5.0]


def test_errors_by_hand():
    errors = Errors()
    assert errors.mae is errors.rmse is None
    errors.add(np.array([-1.0, 2.0]))
    errors.add(np.array([0.0]))
    assert (errors.mae, errors.rmse) == (1.0, pytest.approx((5 / 3) ** 0.5))


def rated(count=300):
    users, items, values = ratings(count)
    return [
        {"user_id": f"u{u}", "item_id": f"i{i}", "value": float(v)}
        for u, i, v in zip(users, items, values, strict=True)
    ]


def test_every_rating_is_predicted_by_every_model():
    result = replayed(stream(rated()), settings(**EXPLICIT))
    assert {name: errors.rated for name, errors in result.ratings.items()} == dict.fromkeys(
        ("live", "als", "sgd", "biased_mf", "running_mean", "baseline"), 300
    )


def test_what_has_no_rating_and_what_is_taken_back_is_not_rated():
    rows = [*rated(20), {"user_id": "u1", "item_id": "i1"}]
    rows.append({**rows[3], "event_type": "remove"})
    result = replayed(stream(rows), settings(**EXPLICIT))
    assert result.ratings["live"].rated == 20


def test_a_rating_is_predicted_before_it_is_learnt():
    """Another last rating changes no prediction: so the error moves by exactly the difference."""
    rows = rated(50)
    errors = []
    for value in (1.0, 5.0):
        rows[-1]["value"] = value
        errors.append(replayed(stream(rows), settings(**EXPLICIT)).ratings)
    for name in errors[0]:
        low, high = errors[0][name], errors[1][name]
        prediction = (low.squared - high.squared + 24) / 8
        assert 1 <= prediction <= 5
        assert low.absolute - (prediction - 1) == pytest.approx(high.absolute - (5 - prediction))


def test_only_the_models_asked_for_learn_ratings():
    plan = Plan(models=["live", "baseline"])
    result = replayed(stream(rated(40)), settings(**EXPLICIT), plan)
    assert list(result.ratings) == ["live", "baseline"]
    alone = replayed(stream(rated(40)), settings(**EXPLICIT), Plan(models=["als"]))
    assert list(alone.ratings) == ["als"]
    both = replayed(stream(rated(40)), settings(**EXPLICIT))
    assert both.ratings["als"].mae == alone.ratings["als"].mae != both.ratings["live"].mae
    assert both.ratings["sgd"].mae == both.ratings["live"].mae
    with pytest.raises(ConfigError, match="baseline rank nothing: name live"):
        replayed(stream(rated(40)), settings(**EXPLICIT), Plan(models=["baseline"]))
