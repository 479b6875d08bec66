"""What an interaction says about the user's taste: from event type and value to a signed strength."""

import math

import numpy as np

from state.arrays import F32, Mask
from stream.config import LearningConfig
from stream.events import Interactions

TAIL = 10
"""Values look like counts where one in a hundred is above so many times their median: ratings never are."""


def strengths(interactions: Interactions, config: LearningConfig) -> tuple[F32, Mask]:
    """Strength of each interaction, float32 [n], and whether there is anything to learn from it.

    Explicit feedback: the rating itself; an interaction without a value, or of weight 0, teaches nothing.
    Implicit feedback: weight x what `learning.strength` makes of the value (see `_amounts`), an absent value
    counting as 1; with `min_value` the value only decides between a positive of the type's weight and what
    `below_min_value` says; negative means dislike, and so does a negative weight, whatever the value.
    """
    value, weight = interactions.value, interactions.weight
    absent = np.isnan(value)
    if config.feedback == "explicit":
        return value, (weight != 0) & ~absent
    if config.min_value is None:
        valued = np.where(absent, np.float32(1), np.where(weight < 0, abs(value), value))
        strength = weight * _amounts(valued, config)
    else:
        liked = absent | (weight < 0) | (value >= np.float32(config.min_value))
        below = np.float32(-1 if config.below_min_value == "dislike" else 0)
        strength = weight * np.where(liked, np.float32(1), np.where(value < 0, np.float32(-1), below))
    return strength.astype(np.float32), strength != 0


def _amounts(values: F32, config: LearningConfig) -> F32:
    """How much values float32 [n] count: themselves, their signs, or between both their logarithms.

    log(1 + |v| / scale) / log(1 + 1 / scale) with the value's sign, so that 1 stays 1: after the confidence
    of counts in Hu, Koren and Volinsky 2008, equation (6).
    """
    if config.strength == "value":
        return values
    if config.strength == "binary":
        return np.sign(values)
    scale = config.strength_scale
    logarithms = np.log1p(abs(values.astype(np.float64)) / scale) / math.log1p(1 / scale)
    return np.copysign(logarithms, values).astype(np.float32)


def describe_counts(interactions: Interactions, config: LearningConfig) -> str | None:
    """What is to be said of values that look like counts or amounts, if they do and it matters."""
    values = interactions.value[interactions.value > 0]
    if not len(values) or config.min_value is not None:
        return None
    median, high = np.quantile(values, (0.5, 0.99), method="inverted_cdf").tolist()
    if high <= TAIL * median:
        return None
    shape = f"half above {median:,.6g}, one in a hundred above {high:,.6g}"
    return f"values look like counts or amounts, {shape}: {_advice(config)}"


def _advice(config: LearningConfig) -> str:
    if config.feedback == "explicit":
        return 'as ratings they say little; leave out --explicit (learning.feedback = "explicit")'
    return {
        "value": 'a few outweigh all others; set learning.strength to "log" or "binary"',
        "log": 'their logarithms are learnt; try learning.strength = "binary" too',
        "binary": "only their signs are learnt",
    }[config.strength]
