"""What an interaction says: every combination of type, value and settings."""

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline import Feed, event

from stream.config import DecodeConfig, LearningConfig
from stream.intake.decode import Decoder
from stream.learning.meaning import describe_counts, strengths

NAN = math.nan


def interactions(*values):
    """As many interactions with these values, or without one where it is NaN."""
    events = [event("u", "i", value=None if math.isnan(value) else value) for value in values]
    return Decoder(DecodeConfig()).decode(Feed()(*events)).interactions


def strength(learning, weight, value):
    """Strength of one interaction and whether it is learnt."""
    decoded = interactions(math.nan)
    columns = {column.name: getattr(decoded, column.name) for column in fields(decoded)}
    columns |= {"weight": np.array([weight], np.float32), "value": np.array([value], np.float32)}
    found, learnt = strengths(type(decoded)(**columns), LearningConfig(**learning))
    assert found.dtype == np.float32
    return (float(found[0]), True) if learnt[0] else (None, False)


@pytest.mark.parametrize(
    ("weight", "value", "expected"),
    [
        (1, NAN, 1),
        (2, NAN, 2),
        (2, 3, 6),
        (2, -3, -6),
        (-1, NAN, -1),
        (-1, 4, -4),
        (-1, -4, -4),
        (1, 0, None),
        (0, NAN, None),
        (0, 5, None),
    ],
)
def test_implicit_strength_is_weight_times_value(weight, value, expected):
    assert strength({"strength": "value"}, weight, value) == (expected, expected is not None)


@pytest.mark.parametrize(
    ("weight", "value", "expected"),
    [
        (1, NAN, 1),
        (2, 1, 2),
        (2, 1e6, 2),
        (2, 1e-3, 2),
        (2, -3, -2),
        (-1, 4, -1),
        (-1, -4, -1),
        (1, 0, None),
        (0, 5, None),
    ],
)
def test_a_binary_strength_is_weight_times_sign(weight, value, expected):
    assert strength({"strength": "binary"}, weight, value) == (expected, expected is not None)


@pytest.mark.parametrize(
    ("weight", "value", "expected"),
    [
        (1, NAN, 1),
        (3, 1, 3),
        (1, 9.9, math.log(100) / math.log(11)),
        (2, -9.9, -2 * math.log(100) / math.log(11)),
        (-1, 9.9, -math.log(100) / math.log(11)),
        (1, 1e6, math.log(1e7 + 1) / math.log(11)),
    ],
)
def test_by_default_a_strength_is_weight_times_logarithm(weight, value, expected):
    learning = {"strength_scale": 0.1}
    assert strength(learning, weight, value) == (pytest.approx(expected, rel=1e-6), True)
    assert strength(learning, weight, 0) == strength(learning, 0, value) == (None, False)


def test_the_scale_of_the_logarithm_decides_how_much_a_value_counts():
    nearly_value = strength({"strength_scale": 1e6}, 1, 8)[0]
    nearly_binary = strength({"strength_scale": 1e-6}, 1, 8)[0]
    assert (nearly_value, nearly_binary) == (pytest.approx(8, rel=1e-4), pytest.approx(1, abs=0.2))
    assert strength({"strength_scale": 3.7}, 1, 1) == (1.0, True)


@given(st.floats(-1e6, 1e6, width=32), st.sampled_from(["value", "log", "binary"]), st.floats(1e-6, 1e6))
def test_a_larger_value_never_counts_less(value, transform, scale):
    learning = {"strength": transform, "strength_scale": scale}
    lower, upper = strength(learning, 1, value)[0] or 0, strength(learning, 1, value * 2)[0] or 0
    assert math.isfinite(upper)
    assert abs(upper) >= abs(lower)
    assert strength(learning, 1, -value)[0] == (-lower or None)


def counts_told(values, **learning):
    return describe_counts(interactions(*values), LearningConfig(**learning))


PLAYS = [1.0] * 50 + [12.0] * 45 + [40_000.0] * 5
"""What counts look like."""


@pytest.mark.parametrize(
    ("learning", "words"),
    [
        ({}, 'their logarithms are learnt; try learning.strength = "binary" too'),
        ({"strength": "value"}, 'a few outweigh all others; set learning.strength to "log" or "binary"'),
        ({"strength": "binary"}, "only their signs are learnt"),
        ({"feedback": "explicit"}, "as ratings they say little"),
    ],
)
def test_values_that_look_like_counts_are_named(learning, words):
    told = counts_told(PLAYS, **learning)
    assert "half above 1, one in a hundred above 40,000" in told
    assert words in told


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 100,
        [float(rating) for rating in range(1, 11)] * 10,
        [0.5, 5.0] * 50,
        [1.0] * 90 + [5.0] * 10,
        [float(percent) for percent in range(101)],
        [-40_000.0] * 3 + [1.0] * 97,
        [math.nan] * 10,
        [],
    ],
)
def test_ratings_and_weights_do_not_look_like_counts(values):
    assert counts_told(values) is None


def test_nothing_is_said_of_counts_that_only_decide():
    assert counts_told(PLAYS, min_value=1.0) is None


@pytest.mark.parametrize(
    ("below", "value", "expected"),
    [
        ("ignore", 4, 2),
        ("ignore", 5, 2),
        ("ignore", NAN, 2),
        ("ignore", 3.9, None),
        ("ignore", 0, None),
        ("ignore", -1, -2),
        ("dislike", 4, 2),
        ("dislike", 3.9, -2),
        ("dislike", 0, -2),
        ("dislike", -1, -2),
    ],
)
def test_min_value_only_decides_between_like_and_not(below, value, expected):
    learning = {"min_value": 4.0, "below_min_value": below}
    assert strength(learning, 2, value) == (expected, expected is not None)
    assert strength(learning, 0, value) == (None, False)
    assert strength(learning, -1, value) == (-1, True)


@pytest.mark.parametrize(
    ("weight", "value", "expected"),
    [(1, 4.5, 4.5), (3, 4.5, 4.5), (1, 0, 0), (1, -2, -2), (0, 4, None), (1, NAN, None)],
)
def test_an_explicit_rating_is_its_value(weight, value, expected):
    learning = {"feedback": "explicit", "algorithm": "sgd"}
    assert strength(learning, weight, value) == (expected, expected is not None)
