"""Decayed popularity: a count in which an interaction loses half its weight every `half_life` interactions.

The count of an item is kept as of the interaction that last touched it, so an update costs the same
however many items there are, and the present value is count * 2^(-(clock - popular_at) / half_life).
"""

import numba
import numpy as np


@numba.njit(cache=True)
def count(items, liked, popularity, popular_at, clock, half_life):  # type: ignore[no-untyped-def]
    """Count liked items (slots int64 [n], bool [n]) in order; the clock moves with each interaction."""
    for i in range(len(items)):
        now = clock + i + 1
        if liked[i]:
            item = items[i]
            popularity[item] = popularity[item] * 2.0 ** ((popular_at[item] - now) / half_life) + 1.0
            popular_at[item] = now


@numba.njit(cache=True)
def present(popularity, popular_at, clock, half_life):  # type: ignore[no-untyped-def]
    """Counts brought up to `clock`, float64 [n]."""
    now = np.empty(len(popularity), np.float64)
    for item in range(len(popularity)):
        now[item] = popularity[item] * 2.0 ** ((popular_at[item] - clock) / half_life)
    return now
