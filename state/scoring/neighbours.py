"""What lists of neighbours say about candidates.

For the last items j_1 (newest) .. j_5 of a user, weights W and event counts n, candidate i of their lists has

    a1 = forward_j1(i) / (n_j1 + 10)                       a2 = sum W_q forward_jq(i) / (n_jq + 10)
    a3 = sum W_q (forward + backward / 2)_jq(i) / sqrt(n_jq)    a4 = sum W_q backward_jq(i) / (n_jq + 10)
"""

import numba
import numpy as np

from state.arrays import F64, I32, I64
from state.neighbours import LAST, Lists

UNIT = 0.05
WEIGHTS = (1.0, 0.6, 0.4, 0.25, 0.15)

PRIOR_EVENTS = 10.0
"""Events without neighbours that every item is taken to have had."""

STRENGTHS = 4
"""a1, a2, a3, a4."""

NAMES = (
    "after the last, lift",
    "after the last, share",
    "after the last five, lift",
    "after the last five, share",
    "before the last five, lift",
    "before the last five, share",
    "beside the last five, few",
    "beside the last five, many",
)
"""What a candidate's strengths become: see `features`."""

STRENGTH_OF = (0, 0, 1, 1, 3, 3, 2, 2)
"""Of which strength each is made."""

FEATURES = len(NAMES)


@numba.njit(cache=True)
def strengths_of(
    lists: Lists, count: float, owner: int, slot: int, q: int
) -> tuple[float, float, float, float]:
    """What one entry of a list, that of the user's last item but `q`, gives to a1, a2, a3 and a4.

    `count` is that of the owner's events.
    """
    forward = np.float64(lists.forward[owner, slot])
    backward = np.float64(lists.backward[owner, slot])
    share = UNIT * WEIGHTS[q] / (count + PRIOR_EVENTS)
    root = UNIT * WEIGHTS[q] / np.sqrt(max(count, 1.0))
    after = share * forward
    return after if q == 0 else 0.0, after, root * (forward + 0.5 * backward), share * backward


@numba.njit(cache=True)
def gather(lists: Lists, counts: F64, last: I64, place: I32, union: I64, strengths: F64) -> int:
    """Union of the lists of a user's last items, and a1 to a4 of its members; returns their number m.

    `counts` float64 [items] are the items' events, `last` int64 [<= LAST] the user's items, newest first.
    `place` int32 [items] is scratch: -1 everywhere before and after. Out: `union` int64 [>= LAST * M],
    distinct, in the order of the lists; `strengths` float64 [>= LAST * M, 4].
    """
    size = 0
    for q in range(len(last)):
        owner = last[q]
        for slot in range(lists.length[owner]):
            item = np.int64(lists.other[owner, slot])
            at = int(place[item])
            if at < 0:
                at = size
                place[item] = at
                union[at] = item
                strengths[at, :] = 0.0
                size += 1
            a1, a2, a3, a4 = strengths_of(lists, counts[owner], owner, slot, q)
            strengths[at, 0] += a1
            strengths[at, 1] += a2
            strengths[at, 2] += a3
            strengths[at, 3] += a4
    for at in range(size):
        place[union[at]] = -1
    return size


@numba.njit(cache=True)
def features(strengths: F64, count: float, total: float, out: F64) -> None:
    """Features of one candidate of `count` among `total` events, from its `strengths` float64 [4].

    With its share of events p = count / total, `out` float64 [8] becomes log(1 + a / (10 p)) and
    log(1 + a / .01) for a1, a2 and a4, then log(1 + a3 / (sqrt(count) c)) for c = .01 and .1.
    """
    count = max(count, 1.0)
    lift = total / (10.0 * count)
    at = 0
    for a in (strengths[0], strengths[1], strengths[3]):
        out[at] = np.log1p(a * lift)
        out[at + 1] = np.log1p(a * 100.0)
        at += 2
    cosine = strengths[2] / np.sqrt(count)
    out[at] = np.log1p(cosine * 100.0)
    out[at + 1] = np.log1p(cosine * 10.0)


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
            scores[item] += UNIT * WEIGHTS[q] * together / scale


@numba.njit(cache=True)
def directed_scores(lists: Lists, counts: F64, last: I64, scores: F64) -> None:
    """scores[i] = sum over last items j of W forward_j(i) / (n_j + 10), float64 [items]."""
    scores[:] = 0.0
    for q in range(min(len(last), LAST)):
        owner = last[q]
        share = UNIT * WEIGHTS[q] / (counts[owner] + PRIOR_EVENTS)
        for slot in range(lists.length[owner]):
            scores[np.int64(lists.other[owner, slot])] += share * np.float64(lists.forward[owner, slot])
