"""What an interaction says: every combination of type, value and settings."""

import math
from dataclasses import fields

import numpy as np
import pytest
from pipeline import Feed, event

from stream.config import DecodeConfig, LearningConfig
from stream.intake.decode import Decoder
from stream.learning.meaning import strengths

NAN = math.nan


def strength(learning, weight, value):
    """Strength of one interaction and whether it is learnt."""
    decoded = Decoder(DecodeConfig()).decode(Feed()(event("u", "i"))).interactions
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
    assert strength({}, weight, value) == (expected, expected is not None)


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
