"""Items that occur next to each other: bounded lists of neighbours.

Every item j keeps at most M slots {other, forward, backward}: `forward` is how often, by weight, the other
item came soon after j in the history of one user, `backward` how often it came soon before. Item-to-item
collaborative filtering (Linden, Smith and York 2003, "Amazon.com recommendations"), directed, over the last
few items of a user. A full list gives the slot of its smallest sum to a newcomer, which takes the counts
over: "space-saving" (Metwally, Agrawal and El Abbadi 2005), which overestimates a count by at most the
smallest one and never loses an item more frequent than that. Counts are integers in units of 1/20, so that
what was added can be taken back without a trace.
"""

from typing import NamedTuple

import numba
import numpy as np

from state.arrays import I32, I64, U32

SLOTS = 100
"""M, neighbours kept by an item: half as many lose 1 to 3 % of the hits, 2,000 gain nothing."""

UNITS = (20, 12, 8, 5, 3)
"""W in units of 1/20, by how many steps back an item lies in the history; others count nothing."""

LAST = len(UNITS)
"""Items of a history that matter."""

COUNT_MAX = 2**32 - 1 - max(UNITS)
"""Counts stay where they are from here on."""


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
def _changed(count: int, change: int) -> int:
    """A count after a change, within its bounds."""
    changed = int(count) + change
    return min(changed, COUNT_MAX) if changed > 0 else 0


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
