"""Compiled hash maps and the arena of histories: how resident rows are found and grow.

Open addressing with linear probing and deletion by backward shift (Knuth, TAOCP vol. 3, 6.4, algorithm R):
no tombstones, so a table that rows come and go in never slows down. Sizes are powers of two.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from state.arrays import F32, I8, I32, I64, U8, U32, U64, Mask
from state.kernels import mix
from state.prefetch import prefetch

EMPTY = -1

AHEAD = 8
"""How many look-ups ahead the map is prefetched; what it leads to, half as many and a quarter as many."""


@numba.njit(cache=True)
def same_bytes(a: U8, a_start: int, b: U8, b_start: int, length: int) -> bool:
    """Whether two spans are equal."""
    for k in range(length):  # noqa: SIM110
        if a[a_start + k] != b[b_start + k]:
            return False
    return True


@numba.njit(cache=True)
def find_ids(
    buffer: U8,
    start: I64,
    length: I32,
    hashes: U64,
    tags: U32,
    table: I32,
    row_start: I64,
    row_length: I32,
    arena: U8,
    out: I64,
) -> None:
    """out[i] = slot of the id `buffer[start[i] : start[i] + length[i]]`, or -1.

    `tags` uint32 [m] and `table` int32 [m] are the map: the upper half of the hash, and the slot.
    """
    mask = np.uint64(len(table) - 1)
    for i in range(len(start)):
        _prefetch_ids(i, hashes, mask, tags, table, row_start, row_length, arena)
        h = hashes[i]
        tag = np.uint32(h >> np.uint64(32))
        p = h & mask
        out[i] = EMPTY
        while table[p] != EMPTY:
            slot = table[p]
            if (
                tags[p] == tag
                and row_length[slot] == length[i]
                and same_bytes(arena, row_start[slot], buffer, start[i], length[i])
            ):
                out[i] = slot
                break
            p = (p + np.uint64(1)) & mask


@numba.njit(cache=True, inline="always")
def _prefetch_ids(
    i: int,
    hashes: U64,
    mask: np.uint64,
    tags: U32,
    table: I32,
    row_start: I64,
    row_length: I32,
    arena: U8,
) -> None:
    """Bring near what later look-ups will read: three jumps, each asked for when the one before is there."""
    if i + AHEAD < len(hashes):
        p = hashes[i + AHEAD] & mask
        prefetch(table, p)
        prefetch(tags, p)
    if i + AHEAD // 2 < len(hashes):
        slot = table[hashes[i + AHEAD // 2] & mask]
        if slot != EMPTY:
            prefetch(row_start, slot)
            prefetch(row_length, slot)
    if i + AHEAD // 4 < len(hashes):
        slot = table[hashes[i + AHEAD // 4] & mask]
        if slot != EMPTY:
            prefetch(arena, row_start[slot])


@numba.njit(cache=True)
def insert_ids(slots: I64, row_hash: U64, tags: U32, table: I32) -> None:
    """Enter slots whose ids are known to be absent."""
    mask = np.uint64(len(table) - 1)
    for i in range(len(slots)):
        if i + AHEAD < len(slots):
            p = row_hash[slots[i + AHEAD]] & mask
            prefetch(table, p)
            prefetch(tags, p)
        slot = slots[i]
        h = row_hash[slot]
        p = h & mask
        while table[p] != EMPTY:
            p = (p + np.uint64(1)) & mask
        table[p] = slot
        tags[p] = np.uint32(h >> np.uint64(32))


@numba.njit(cache=True)
def delete_ids(slots: I64, row_hash: U64, tags: U32, table: I32) -> None:
    """Take slots out."""
    mask = np.uint64(len(table) - 1)
    one = np.uint64(1)
    for slot in slots:
        p = row_hash[slot] & mask
        while table[p] != slot:
            p = (p + one) & mask
        q = p
        while True:
            q = (q + one) & mask
            if table[q] == EMPTY:
                break
            home = row_hash[table[q]] & mask
            if ((q - home) & mask) >= ((q - p) & mask):
                table[p] = table[q]
                tags[p] = tags[q]
                p = q
        table[p] = EMPTY


@numba.njit(cache=True, inline="always")
def find_ordinal(ordinal: int | np.int64, row_ordinal: U32, table: I32) -> np.int64:
    """Slot of one permanent ordinal, or -1: see `find_ordinals`."""
    mask = np.uint64(len(table) - 1)
    p = mix(np.uint64(ordinal)) & mask
    while table[p] != EMPTY and row_ordinal[table[p]] != ordinal:
        p = (p + np.uint64(1)) & mask
    return np.int64(table[p])


@numba.njit(cache=True)
def find_ordinals(ordinals: I64, row_ordinal: U32, table: I32, out: I64) -> None:
    """out[i] = slot of a permanent ordinal, or -1; `table` int32 [m] maps `mix(ordinal)` to slots."""
    for i in range(len(ordinals)):
        out[i] = find_ordinal(ordinals[i], row_ordinal, table)


@numba.njit(cache=True)
def insert_ordinals(slots: I64, row_ordinal: U32, table: I32) -> None:
    """Enter slots whose ordinals are known to be absent."""
    mask = np.uint64(len(table) - 1)
    for i in range(len(slots)):
        if i + AHEAD < len(slots):
            prefetch(table, mix(np.uint64(row_ordinal[slots[i + AHEAD]])) & mask)
        slot = slots[i]
        p = mix(np.uint64(row_ordinal[slot])) & mask
        while table[p] != EMPTY:
            p = (p + np.uint64(1)) & mask
        table[p] = slot


@numba.njit(cache=True)
def delete_ordinals(slots: I64, row_ordinal: U32, table: I32) -> None:
    """Take slots out."""
    mask = np.uint64(len(table) - 1)
    one = np.uint64(1)
    for slot in slots:
        p = mix(np.uint64(row_ordinal[slot])) & mask
        while table[p] != slot:
            p = (p + one) & mask
        q = p
        while True:
            q = (q + one) & mask
            if table[q] == EMPTY:
                break
            home = mix(np.uint64(row_ordinal[table[q]])) & mask
            if ((q - home) & mask) >= ((q - p) & mask):
                table[p] = table[q]
                p = q
        table[p] = EMPTY


@numba.njit(cache=True)
def distinct(slots: I64, seen: Mask) -> I64:
    """Each of `slots` once, in order of first appearance; `seen` bool [capacity] is and stays all false."""
    found = np.empty(len(slots), np.int64)
    n = 0
    for slot in slots:
        if not seen[slot]:
            seen[slot] = True
            found[n] = slot
            n += 1
    for slot in found[:n]:
        seen[slot] = False
    return found[:n]


@numba.njit(cache=True)
def distinct_spans(buffer: U8, start: I64, length: I32, hashes: U64, wanted: Mask, first: I64) -> int:
    """For each i with `wanted[i]`, first[i] = the least index with the same id; others get -1.

    Returns how many different ids there are.
    """
    size = 16
    while size < 2 * len(start):
        size *= 2
    mask = np.uint64(size - 1)
    table = np.full(size, EMPTY, np.int64)
    count = 0
    for i in range(len(start)):
        first[i] = EMPTY
        if not wanted[i]:
            continue
        p = hashes[i] & mask
        while True:
            j = table[p]
            if j == EMPTY:
                table[p] = i
                first[i] = i
                count += 1
                break
            if (
                hashes[j] == hashes[i]
                and length[j] == length[i]
                and same_bytes(buffer, start[j], buffer, start[i], length[i])
            ):
                first[i] = j
                break
            p = (p + np.uint64(1)) & mask
    return count


@numba.njit(cache=True)
def allocate(room: int | np.int64, sizes: I64, free: I64, top: I64, links: U32) -> tuple[int, int]:
    """Start of a block of the smallest size that holds `room` entries, and the index of that size.

    `sizes` int64 [s], ascending multiples of four; `free` int64 [s], heads of free lists (-1: none);
    `top` int64 [1], first entry never used; `links` uint32 [arena]: a free block's first entry holds the next
    block's start divided by four, all ones at the end.
    """
    c = 0
    while sizes[c] < room:
        c += 1
    start = free[c]
    if start >= 0:
        link = links[start]
        free[c] = -1 if link == np.uint32(0xFFFFFFFF) else np.int64(link) * 4
    else:
        start = top[0]
        top[0] += sizes[c]
    return start, c


@numba.njit(cache=True)
def release(start: int, c: int, free: I64, links: U32) -> None:
    """Give a block of size `c` back."""
    links[start] = np.uint32(0xFFFFFFFF) if free[c] < 0 else np.uint32(free[c] // 4)
    free[c] = start


@numba.njit(cache=True)
def make_room(
    slots: I64,
    lengths: I32,
    entry_start: I64,
    entry_class: I8,
    sizes: I64,
    free: I64,
    top: I64,
    links: U32,
) -> None:
    """Give each slot a block that holds `lengths[i]` entries, keeping a block that is of the right size."""
    for i in range(len(slots)):
        slot = slots[i]
        c = entry_class[slot]
        if c >= 0:
            if lengths[i] > 0 and sizes[c] >= lengths[i] and (c == 0 or sizes[c - 1] < lengths[i]):
                continue
            release(entry_start[slot], c, free, links)
            entry_class[slot] = -1
        if lengths[i] > 0:
            entry_start[slot], entry_class[slot] = allocate(lengths[i], sizes, free, top, links)


@numba.njit(cache=True)
def move_blocks(starts: I64, sizes: I64, field: npt.NDArray[np.generic]) -> None:
    """Move blocks, by ascending start, to the front of an arena."""
    position = 0
    for i in range(len(starts)):
        start = starts[i]
        for e in range(sizes[i]):
            field[position + e] = field[start + e]
        position += sizes[i]


class Histories(NamedTuple):
    """The bounded histories of all slots: blocks of one arena, handed out by `allocate`.

    `start` int64 [slots]; `length` int32 [slots]; `size_class` int8 [slots], -1 without a block; `other`
    uint32 and `strength` float32 [arena]; `sizes`, `free`, `top` as in `allocate`; a full history has `most`
    entries.
    """

    start: I64
    length: I32
    size_class: I8
    other: U32
    strength: F32
    sizes: I64
    free: I64
    top: I64
    most: int


@numba.njit(cache=True)
def entries_of(histories: Histories, slot: int) -> tuple[U32, F32]:
    """Others and strengths of the history of a slot, oldest first: views."""
    start = histories.start[slot]
    stop = start + histories.length[slot]
    return histories.other[start:stop], histories.strength[start:stop]


@numba.njit(cache=True)
def append_entry(histories: Histories, slot: int, other: int, strength: np.float32) -> None:
    """Append an entry to the history of a slot; a full one drops its oldest. The arena has room for it."""
    others, strengths = histories.other, histories.strength
    n = np.int64(histories.length[slot])
    start = histories.start[slot]
    c = histories.size_class[slot]
    if n == histories.most:
        for e in range(start, start + n - 1):
            others[e] = others[e + 1]
            strengths[e] = strengths[e + 1]
        n -= 1
    elif c < 0 or n == histories.sizes[c]:
        grown, grown_class = allocate(n + 1, histories.sizes, histories.free, histories.top, others)
        for e in range(n):
            others[grown + e] = others[start + e]
            strengths[grown + e] = strengths[start + e]
        if c >= 0:
            release(start, c, histories.free, others)
        start = grown
        histories.start[slot] = grown
        histories.size_class[slot] = grown_class
    others[start + n] = other
    strengths[start + n] = strength
    histories.length[slot] = n + 1


@numba.njit(cache=True)
def append_entries(histories: Histories, slots: I64, others: I64, strengths: F32) -> None:
    """Append (others[i], strengths[i]) to the history of slots[i], in order."""
    for i in range(len(slots)):
        append_entry(histories, slots[i], others[i], strengths[i])


@numba.njit(cache=True)
def find_entry(histories: Histories, slot: int, wanted: int) -> int:
    """Where the latest entry with `other == wanted` lies in a history (0 is the oldest), -1 if nowhere."""
    start = histories.start[slot]
    for e in range(histories.length[slot] - 1, -1, -1):
        if histories.other[start + e] == wanted:
            return e
    return -1


@numba.njit(cache=True)
def remove_entry(histories: Histories, slot: int, wanted: int) -> np.float32:
    """Take the latest entry with `other == wanted` out of a history; its strength, NaN if there is none."""
    place = find_entry(histories, slot, wanted)
    if place < 0:
        return np.float32(np.nan)
    start = histories.start[slot]
    found: np.float32 = histories.strength[start + place]
    for e in range(start + place, start + histories.length[slot] - 1):
        histories.other[e] = histories.other[e + 1]
        histories.strength[e] = histories.strength[e + 1]
    histories.length[slot] -= 1
    return found


@numba.njit(cache=True)
def pack_arena(order: I64, row_start: I64, row_length: I32, arena: U8) -> int:
    """Move the ids of slots, visited in `order` of ascending start, to the front; the bytes in use."""
    top = 0
    for slot in order:
        start = row_start[slot]
        for k in range(row_length[slot]):
            arena[top + k] = arena[start + k]
        row_start[slot] = top
        top += row_length[slot]
    return top
