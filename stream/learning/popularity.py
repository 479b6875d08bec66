"""How a like changes an item's decayed counts; what they are is in `state.scoring.popularity`."""

import numba
import numpy as np

from state.arrays import F64, I64
from state.scoring.popularity import DECAYS, EVER, LOG_DECAYS


@numba.njit(cache=True)
def count_like(counts: F64, counted_at: I64, item: int, clock: int) -> None:
    """Count a like of `item` by the event numbered `clock`; `counts` float64 [items, 5]."""
    age = np.float64(clock - counted_at[item])
    for d in range(len(DECAYS)):
        counts[item, d] = counts[item, d] * np.exp(age * LOG_DECAYS[d]) + 1.0
    counted_at[item] = clock


@numba.njit(cache=True)
def take_like_back(counts: F64, item: int) -> None:
    """Take back a like of which nobody remembers the time: the others keep their share of each count."""
    ever = counts[item, EVER]
    for d in range(EVER):
        counts[item, d] = counts[item, d] * (ever - 1.0) / ever if ever > 1.0 else 0.0
    counts[item, EVER] = max(ever - 1.0, 0.0)
