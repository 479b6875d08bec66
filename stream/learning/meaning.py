"""What an interaction says about the user's taste: from event type and value to a signed strength."""

import numpy as np

from state.arrays import F32, Mask
from stream.config import LearningConfig
from stream.events import Interactions


def strengths(interactions: Interactions, config: LearningConfig) -> tuple[F32, Mask]:
    """Strength of each interaction, float32 [n], and whether there is anything to learn from it.

    Explicit feedback: the rating itself; an interaction without a value, or of weight 0, teaches nothing.
    Implicit feedback: weight x value, an absent value counting as 1; with `min_value` the value only
    decides between a positive of the type's weight and what `below_min_value` says; negative means dislike,
    and so does a negative weight, whatever the value.
    """
    value, weight = interactions.value, interactions.weight
    absent = np.isnan(value)
    if config.feedback == "explicit":
        return value, (weight != 0) & ~absent
    if config.min_value is None:
        strength = weight * np.where(absent, np.float32(1), np.where(weight < 0, abs(value), value))
    else:
        liked = absent | (weight < 0) | (value >= np.float32(config.min_value))
        below = np.float32(-1 if config.below_min_value == "dislike" else 0)
        strength = weight * np.where(liked, np.float32(1), np.where(value < 0, np.float32(-1), below))
    return strength.astype(np.float32), strength != 0
