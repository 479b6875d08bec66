"""Items that occur next to each other: bounded lists of neighbours, and what they say about candidates.

Every item j keeps at most M slots {other, forward, backward}: `forward` is how often, by weight, the other
item came soon after j in the history of one user, `backward` how often it came soon before. Item-to-item
collaborative filtering (Linden, Smith and York 2003, "Amazon.com recommendations"), directed, over the last
few items of a user. The lists are learnt in `stream.neighbours`.

For the last items j_1 (newest) .. j_5 of a user, weights W and event counts n, item i scores

    cosine      sum W_q (forward + backward)_jq(i) / sqrt(n_jq n_i)
    directed    sum W_q forward_jq(i) / (n_jq + 10)
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]

SLOTS = 100
"""M, neighbours kept by an item: half as many lose 1 to 3 % of the hits, 2,000 gain nothing."""

WEIGHTS = (1.0, 0.6, 0.4, 0.25, 0.15)
"""W, by how many steps back an item lies in the history; items further back count nothing."""

LAST = len(WEIGHTS)
"""Items of a history that matter."""

PRIOR_EVENTS = 10.0
"""Events without neighbours that every item is taken to have had."""


class Lists(NamedTuple):
    """The lists of all items: `other` uint32 [items, M], `forward` and `backward` float32 [items, M].

    The first `length` int32 [items] slots of a row are in use.
    """

    other: U32
    forward: F32
    backward: F32
    length: I32


def empty_lists(items: int, slots: int = SLOTS) -> Lists:
    """Lists without entries for `items` items."""
    return Lists(
        np.zeros((items, slots), np.uint32),
        np.zeros((items, slots), np.float32),
        np.zeros((items, slots), np.float32),
        np.zeros(items, np.int32),
    )


@numba.njit(cache=True)
def cosine_scores(lists: Lists, counts: F64, last: I64, scores: F64) -> None:
    """scores[i] = sum over last items j of W (forward + backward)_j(i) / sqrt(n_j n_i), float64 [items]."""
    scores[:] = 0.0
    for q in range(min(len(last), LAST)):
        owner = last[q]
        for slot in range(lists.length[owner]):
            item = np.int64(lists.other[owner, slot])
            together = np.float64(lists.forward[owner, slot]) + np.float64(lists.backward[owner, slot])
            scale = np.sqrt(max(counts[owner], 1.0) * max(counts[item], 1.0))
            scores[item] += WEIGHTS[q] * together / scale


@numba.njit(cache=True)
def directed_scores(lists: Lists, counts: F64, last: I64, scores: F64) -> None:
    """scores[i] = sum over last items j of W forward_j(i) / (n_j + 10), float64 [items]."""
    scores[:] = 0.0
    for q in range(min(len(last), LAST)):
        owner = last[q]
        share = WEIGHTS[q] / (counts[owner] + PRIOR_EVENTS)
        for slot in range(lists.length[owner]):
            scores[np.int64(lists.other[owner, slot])] += share * np.float64(lists.forward[owner, slot])
