"""Items that occur next to each other: bounded lists of neighbours, and what they say about candidates.

Every item j keeps at most M slots {other, forward, backward}: `forward` is how often, by weight, the other
item came soon after j in the history of one user, `backward` how often it came soon before. Item-to-item
collaborative filtering (Linden, Smith and York 2003, "Amazon.com recommendations"), directed, over the last
few items of a user. A full list gives the slot of its smallest sum to a newcomer, which takes the counts
over: "space-saving" (Metwally, Agrawal and El Abbadi 2005), which overestimates a count by at most the
smallest one and never loses an item more frequent than that. Counts are integers in units of 1/20, so that
what was added can be taken back without a trace.

For the last items j_1 (newest) .. j_5 of a user, weights W and event counts n, candidate i of their lists has

    a1 = forward_j1(i) / (n_j1 + 10)                       a2 = sum W_q forward_jq(i) / (n_jq + 10)
    a3 = sum W_q (forward + backward / 2)_jq(i) / sqrt(n_jq)    a4 = sum W_q backward_jq(i) / (n_jq + 10)
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

UNITS = (20, 12, 8, 5, 3)
"""W in units of 1/20, by how many steps back an item lies in the history; others count nothing."""

UNIT = 0.05
WEIGHTS = (1.0, 0.6, 0.4, 0.25, 0.15)
LAST = len(UNITS)
"""Items of a history that matter."""

COUNT_MAX = 2**32 - 1 - max(UNITS)
"""Counts stay where they are from here on."""

PRIOR_EVENTS = 10.0
"""Events without neighbours that every item is taken to have had."""

STRENGTHS = 4
"""a1, a2, a3, a4."""

FEATURES = 8
"""What a candidate's strengths become: see `features`."""


class Lists(NamedTuple):
    """The lists of all items: `other`, `forward` and `backward` uint32 [items, M].

    The first `length` int32 [items] slots of a row are in use.
    """

    other: U32
    forward: U32
    backward: U32
    length: I32


def empty_lists(items: int, slots: int = SLOTS) -> Lists:
    """Lists without entries for `items` items."""
    other, forward, backward = (np.zeros((items, slots), np.uint32) for _ in range(3))
    return Lists(other, forward, backward, np.zeros(items, np.int32))


@numba.njit(cache=True)
def _find(lists: Lists, owner: int, other: int) -> int:
    """The slot of `other` in the list of `owner`, -1 if there is none."""
    wanted = np.uint32(other)
    for slot in range(lists.length[owner]):
        if lists.other[owner, slot] == wanted:
            return int(slot)
    return -1


@numba.njit(cache=True)
def _make(lists: Lists, owner: int, other: int) -> int:
    """A slot for `other`, which the list of `owner` does not have."""
    length = lists.length[owner]
    if length < lists.other.shape[1]:
        lists.length[owner] = length + 1
        lists.forward[owner, length] = 0
        lists.backward[owner, length] = 0
        lists.other[owner, length] = np.uint32(other)
        return int(length)
    smallest = 0
    least = np.uint64(lists.forward[owner, 0]) + np.uint64(lists.backward[owner, 0])
    for slot in range(1, length):
        count = np.uint64(lists.forward[owner, slot]) + np.uint64(lists.backward[owner, slot])
        if count < least:
            smallest, least = slot, count
    lists.other[owner, smallest] = np.uint32(other)
    return smallest


@numba.njit(cache=True)
def _changed(count, change):  # type: ignore[no-untyped-def]
    """A count after a change, within its bounds."""
    return min(max(np.int64(count) + change, 0), COUNT_MAX)


@numba.njit(cache=True)
def add(lists: Lists, owner: int, other: int, forward: int, backward: int) -> None:
    """Count `other` in the list of `owner`; negative numbers take back, as far as the slot is still there.

    `forward` and `backward` are in units of 1/20. A slot without counts is given up.
    """
    slot = _find(lists, owner, other)
    if forward < 0 or backward < 0:
        if slot >= 0:
            _take_back(lists, owner, slot, forward, backward)
        return
    if slot < 0:
        slot = _make(lists, owner, other)
    lists.forward[owner, slot] = _changed(lists.forward[owner, slot], forward)
    lists.backward[owner, slot] = _changed(lists.backward[owner, slot], backward)


@numba.njit(cache=True)
def _take_back(lists: Lists, owner: int, slot: int, forward: int, backward: int) -> None:
    lists.forward[owner, slot] = _changed(lists.forward[owner, slot], forward)
    lists.backward[owner, slot] = _changed(lists.backward[owner, slot], backward)
    if lists.forward[owner, slot] == 0 and lists.backward[owner, slot] == 0:
        last = lists.length[owner] - 1
        lists.other[owner, slot] = lists.other[owner, last]
        lists.forward[owner, slot] = lists.forward[owner, last]
        lists.backward[owner, slot] = lists.backward[owner, last]
        lists.length[owner] = last


@numba.njit(cache=True)
def learn(lists: Lists, item: int, last: I64) -> None:
    """Count that `item` came after the items `last` int64 [<= LAST], newest first, of the same user."""
    for q in range(min(len(last), LAST)):
        if last[q] != item:
            add(lists, last[q], item, UNITS[q], 0)
            add(lists, item, last[q], 0, UNITS[q])


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
        share = UNIT * WEIGHTS[q] / (counts[owner] + PRIOR_EVENTS)
        root = UNIT * WEIGHTS[q] / np.sqrt(max(counts[owner], 1.0))
        for slot in range(lists.length[owner]):
            item = np.int64(lists.other[owner, slot])
            at = int(place[item])
            if at < 0:
                at = size
                place[item] = at
                union[at] = item
                strengths[at, :] = 0.0
                size += 1
            forward = np.float64(lists.forward[owner, slot])
            backward = np.float64(lists.backward[owner, slot])
            if q == 0:
                strengths[at, 0] = share * forward
            strengths[at, 1] += share * forward
            strengths[at, 2] += root * (forward + 0.5 * backward)
            strengths[at, 3] += share * backward
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
