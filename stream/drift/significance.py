"""Tests whose p-values say how unlikely what is seen would be if nothing had changed."""

from math import copysign, log1p, nan, sqrt
from statistics import NormalDist

import numpy as np

from state.arrays import F64, I64
from stream.drift.windows import by_user

WINDOWS_MIN = 8.0
"""Windows that do not overlap, and users, from which a spread is taken."""

ROUNDING = 1e-9
"""Spread that is taken for none, relative to the mean."""


def block_test(reference: F64, current: float, overlap: int) -> float:
    """How likely the mean of one window is this far above those of the windows before, by chance.

    `reference` float64 [m] are means of windows of which so many share each event. The spread is that
    *between windows*, not between events, so that what a stream does by itself counts as chance: a prediction
    interval of Student's t. One-sided; NaN if there are too few windows.
    """
    windows = len(reference) / overlap
    if windows < WINDOWS_MIN or np.isnan(current):
        return nan
    mean = float(reference.mean())
    spread = max(float(reference.std()), ROUNDING * (1.0 + abs(mean)))
    return t_tail((current - mean) / (spread * sqrt(1.0 + 1.0 / windows)), windows - 1.0)


def paired_test(users: I64, differences: F64, users_min: float = WINDOWS_MIN) -> float:
    """How likely differences float64 [n] are this far above 0 by chance, one value a user: one-sided.

    NaN, which a pair may be, is left out; NaN if there are fewer users.
    """
    means = by_user(users, differences[:, None])[0]
    means = means[~np.isnan(means)]
    if len(means) < users_min:
        return nan
    spread = max(float(means.std(ddof=1)), ROUNDING)
    return t_tail(float(means.mean()) / (spread / sqrt(len(means))), len(means) - 1.0)


def t_tail(t: float, freedom: float) -> float:
    """Probability that Student's t with so many degrees of freedom is above `t`, by Wallace (1959)."""
    z = (8 * freedom + 1) / (8 * freedom + 3) * sqrt(freedom * log1p(t * t / freedom))
    return NormalDist().cdf(-copysign(z, t))
