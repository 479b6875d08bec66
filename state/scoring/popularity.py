"""Decayed counts of likes at several half-lives, and what they say of an item.

P_d is a count in which a like is worth the factor d less with every later event of the stream. The counts of
an item are kept as of the event that last touched it, so that an update costs the same however many items
there are; the present value is P_d d^(clock - counted_at).
"""

import math

import numba
import numpy as np

from state.arrays import F64, I64

DECAYS = (0.99, 0.995, 0.999, 0.9999, 1.0)
"""d: what a like counts after each later event."""

LOG_DECAYS = tuple(math.log(decay) for decay in DECAYS)

SMOOTHERS = (0.03, 0.3, 3.0)
"""c, in likes."""

LOG_SMOOTHERS = tuple(math.log(smoother) for smoother in SMOOTHERS)

LOG_NOTHING = -80.0
"""Log of a decay beyond which nothing is left of 10^15 likes: with less, P_d + c is c to the bit."""

FEATURES = len(DECAYS) * len(SMOOTHERS)
"""log(P_d + c) for all c of one d, then of the next."""

UNLIKED = 5.0
"""What an item without a like scores less, in log odds."""

COMMON = 2
"""The column that stands for popularity as such: 693 events until half of a like is forgotten."""

EVER = len(DECAYS) - 1
"""The column of counts that do not decay."""


def half_life(decay: float) -> int:
    """Events after which half of a weight is left, rounded.

    >>> [half_life(decay) for decay in DECAYS[:EVER]]
    [69, 138, 693, 6931]
    """
    return round(math.log(0.5) / math.log(decay))


def first_weights() -> F64:
    """Before anything is learnt: an equal share of every feature, float64 [15]."""
    return np.full(FEATURES, 1.0 / FEATURES)


@numba.njit(cache=True)
def present(counts: F64, counted_at: I64, column: int, clock: int, out: F64) -> None:
    """Counts of one decay as of event `clock` of the first n items, into `out` float64 [n]."""
    for item in range(len(out)):
        held = counts[item, column]
        out[item] = held * np.exp((clock - counted_at[item]) * LOG_DECAYS[column]) if held > 0.0 else 0.0


@numba.njit(cache=True)
def _left(counts: F64, item: int, d: int, age: float) -> float:
    """What is left of an item's count of one decay after `age` events; 0 if it would not change a feature."""
    log_left = age * LOG_DECAYS[d]
    return float(counts[item, d] * np.exp(log_left)) if log_left > LOG_NOTHING else 0.0


@numba.njit(cache=True)
def _log(left: float, c: int) -> float:
    """log(P_d + c) for the smoother numbered `c`."""
    return float(np.log(left + SMOOTHERS[c])) if left > 0.0 else LOG_SMOOTHERS[c]


@numba.njit(cache=True)
def features(counts: F64, counted_at: I64, item: int, clock: int, out: F64) -> None:
    """log(P_d + c) of an item as of event `clock`, into `out` float64 [15]."""
    age = np.float64(clock - counted_at[item])
    at = 0
    for d in range(len(DECAYS)):
        left = _left(counts, item, d, age)
        for c in range(len(SMOOTHERS)):
            out[at] = _log(left, c)
            at += 1


@numba.njit(cache=True)
def _unliked(clock: int, weights: F64) -> float:
    """Scalar of an item without a like: `UNLIKED` less than of one with a like when the stream began.

    Weights are learnt from items that somebody likes. Those of slow counts may well be negative, and then
    a count of zero, where log(P + c) has no floor but log c, would put an item above all others.
    """
    total = -UNLIKED
    at = 0
    for d in range(len(DECAYS)):
        left = np.exp(clock * LOG_DECAYS[d])
        for c in range(len(SMOOTHERS)):
            total += weights[at] * np.log(left + SMOOTHERS[c])
            at += 1
    return total


@numba.njit(cache=True)
def scalar(counts: F64, counted_at: I64, item: int, clock: int, weights: F64) -> float:
    """Weighted sum of an item's features, `weights` float64 [15]; for one without a like see `_unliked`."""
    if not counts[item, EVER] > 0.0:
        return _unliked(clock, weights)
    age = np.float64(clock - counted_at[item])
    total = 0.0
    at = 0
    for d in range(len(DECAYS)):
        left = _left(counts, item, d, age)
        for c in range(len(SMOOTHERS)):
            total += weights[at] * _log(left, c)
            at += 1
    return total


@numba.njit(cache=True)
def scalars_of(counts: F64, counted_at: I64, items: I64, clock: int, weights: F64, out: F64) -> None:
    """out[item] = `scalar` of each of `items` int64 [n]; `out` float64 [>= all of them]."""
    for item in items:
        out[item] = scalar(counts, counted_at, item, clock, weights)


@numba.njit(cache=True)
def scalars(counts: F64, counted_at: I64, clock: int, weights: F64, out: F64) -> None:
    """`scalar` of the first items, as many as `out` float64 [n] has room for."""
    for item in range(len(out)):
        out[item] = scalar(counts, counted_at, item, clock, weights)
