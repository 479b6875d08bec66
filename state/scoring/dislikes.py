"""What a dislike does to the score of its item, for the user who said so."""

import numba
import numpy as np

from state.arrays import F32, F64, I64, U32

PENALTY = 5.0
"""What a disliked item scores less: of ranking scores, which are log odds, that is one chance in 150."""


@numba.njit(cache=True)
def disliked_of(history: U32, strengths: F32) -> I64:
    """Items that a user's history, uint32 and float32 [h], says are disliked: int64 [m], distinct.

    The latest opinion of an item counts.
    """
    found = np.empty(len(history), np.int64)
    size = 0
    for e in range(len(history)):
        if strengths[e] < 0 and not _contains(history[e + 1 :], history[e]):
            found[size] = history[e]
            size += 1
    return found[:size]


@numba.njit(cache=True)
def _contains(items: U32, wanted: np.uint32) -> bool:
    for item in items:  # noqa: SIM110, as numba compiles loops, not generators
        if item == wanted:
            return True
    return False


@numba.njit(cache=True)
def push_down(disliked: I64, scores: F64) -> None:
    """Lower the scores, float64 [items], of disliked items, int64 [m]."""
    for item in disliked:
        scores[item] -= PENALTY


@numba.njit(cache=True)
def push_down_some(disliked: I64, items: I64, scores: F64) -> None:
    """The same where `scores` float64 [n] are of `items` int64 [n]."""
    for item in disliked:
        for n in range(len(items)):
            if items[n] == item:
                scores[n] -= PENALTY
