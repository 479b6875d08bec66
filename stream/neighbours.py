"""Learning the lists of neighbours: space-saving counts of what follows what.

When a user acts on item i after items j_1 (newest) .. j_5, i gains forward W_q in the list of j_q and j_q
gains backward W_q in the list of i. A full list gives the slot of its smallest sum forward + backward to
the newcomer, which takes the counts over: "space-saving" (Metwally, Agrawal and El Abbadi 2005), which
overestimates a count by at most the smallest one and never loses an item more frequent than that.
"""

import numba
import numpy as np

from state.neighbours import I64, LAST, WEIGHTS, Lists


@numba.njit(cache=True)
def _slot(lists: Lists, owner: int, other: int) -> int:
    """The slot of `other` in the list of `owner`, made if need be."""
    wanted = np.uint32(other)
    length = lists.length[owner]
    for slot in range(length):
        if lists.other[owner, slot] == wanted:
            return int(slot)
    if length < lists.other.shape[1]:
        lists.length[owner] = length + 1
        lists.forward[owner, length] = 0
        lists.backward[owner, length] = 0
        lists.other[owner, length] = wanted
        return int(length)
    smallest = 0
    least = lists.forward[owner, 0] + lists.backward[owner, 0]
    for slot in range(1, length):
        count = lists.forward[owner, slot] + lists.backward[owner, slot]
        if count < least:
            smallest, least = slot, count
    lists.other[owner, smallest] = wanted
    return smallest


@numba.njit(cache=True)
def learn(lists: Lists, item: int, last: I64) -> None:
    """Count that `item` came after the items `last` int64 [<= LAST], newest first, of the same user."""
    for q in range(min(len(last), LAST)):
        before = last[q]
        if before != item:
            weight = np.float32(WEIGHTS[q])
            lists.forward[before, _slot(lists, before, item)] += weight
            lists.backward[item, _slot(lists, item, before)] += weight
