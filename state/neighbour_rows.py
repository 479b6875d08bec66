"""Lists of neighbours as rows, and what one micro-batch did to them as steps.

A list is more than a kilobyte and one event changes six: so a micro-batch writes what it did, ten steps of
six bytes an event, and only a flush writes whole lists. A list says through which micro-batch it has been
brought, so that steps it has already taken are passed over: applying a journal twice is harmless here too.

    row:    format (1 byte), micro-batch of the last change (int64), slots in use (uint16),
            then other, forward, backward (uint32 each) of all slots
    steps:  other (uint32), forward and backward (int8, in units of 1/20), in the order in which they were
            taken
"""

import numba
import numpy as np

from state.arrays import I8, I32, I64, U8, U32, Mask
from state.codec import FORMAT, NEIGHBOUR_STEPS, NEIGHBOURS, single_rows
from state.copying import copy_bytes
from state.errors import StoreCorruptError
from state.neighbours import Lists, add, empty_lists
from state.store import Rows

HEADER_BYTES = 11
SLOT_BYTES = 12
STEP = np.dtype([("other", "<u4"), ("forward", "i1"), ("backward", "i1")])


class NeighbourRows:
    """The lists of all items; `changed_at` int64 [items] is the micro-batch that each was last changed in.

    Implements `state.kinds.SteppedPart`.
    """

    def __init__(self, items_max: int) -> None:
        self.lists = empty_lists(items_max)
        self.changed_at = np.zeros(items_max, np.int64)
        self._steps = _no_steps()

    def apply(self, rows: Rows) -> None:
        """Overwrite lists with stored ones. Raises StoreCorruptError for what cannot be one."""
        self._check_ordinals(rows)
        sizes = np.diff(rows.bounds)
        slots = (sizes - HEADER_BYTES) // SLOT_BYTES
        whole = (sizes >= HEADER_BYTES) & (slots * SLOT_BYTES + HEADER_BYTES == sizes)
        bad = ~whole | (slots > self.lists.other.shape[1])
        if not bad.any():
            taken = unpack_lists(
                rows.ordinals, rows.bounds, rows.data, slots, *self._bytes, self.lists.length, self.changed_at
            )
            bad = ~taken
        if bad.any():
            raise StoreCorruptError(
                f"the neighbours of item {rows.ordinals[bad.argmax()]} are damaged: "
                "restore a checkpoint or relearn from the log"
            )

    def apply_steps(self, rows: Rows, batch_seq: int) -> None:
        """Take the steps of a micro-batch, as far as they have not been taken yet."""
        self._check_ordinals(rows)
        steps = rows.data.view(STEP) if len(rows.data) % STEP.itemsize == 0 else None
        if (
            steps is None
            or (rows.bounds % STEP.itemsize).any()
            or (steps["other"] >= len(self.changed_at)).any()
        ):
            raise StoreCorruptError(
                f"the neighbours of micro-batch {batch_seq} in the journal are damaged: "
                "restore a checkpoint or relearn from the log"
            )
        take_steps(
            rows.ordinals,
            rows.bounds // STEP.itemsize,
            steps["other"].copy(),
            steps["forward"].copy(),
            steps["backward"].copy(),
            batch_seq,
            self.lists,
            self.changed_at,
        )

    def mark(self, steps: Rows) -> None:
        """Have the steps that a micro-batch took journalled with it."""
        self._steps = steps

    def take_changed(self) -> Rows:
        """The steps marked since the last call."""
        steps, self._steps = self._steps, _no_steps()
        return steps

    def changed_since(self, batch_seq: int) -> Rows:
        """The lists that changed after a micro-batch, whole."""
        return self.pack(np.flatnonzero(self.changed_at > batch_seq))

    def changed_count(self, batch_seq: int) -> int:
        """How many lists changed after a micro-batch."""
        return int(np.count_nonzero(self.changed_at > batch_seq))

    def pack(self, items: I64) -> Rows:
        """The lists of some items, ascending, as rows."""
        bounds = np.zeros(len(items) + 1, np.int64)
        np.cumsum(HEADER_BYTES + SLOT_BYTES * self.lists.length[items].astype(np.int64), out=bounds[1:])
        data = np.empty(bounds[-1], np.uint8)
        pack_lists(items, bounds, *self._bytes, self.lists.length, self.changed_at.view(np.uint8), data)
        return Rows(NEIGHBOURS, items, bounds, data)

    @property
    def _bytes(self) -> tuple[U8, U8, U8]:
        other, forward, backward, _ = self.lists
        return other.view(np.uint8), forward.view(np.uint8), backward.view(np.uint8)

    def _check_ordinals(self, rows: Rows) -> None:
        if len(rows) and rows.ordinals[-1] >= len(self.changed_at):
            raise StoreCorruptError(
                f"there are neighbours of item {rows.ordinals[-1]}, and `state.items_max` is "
                f"{len(self.changed_at)}: the store is damaged or was made with a larger catalogue"
            )


def _no_steps() -> Rows:
    return single_rows(NEIGHBOUR_STEPS, {})


def pack_steps(owners: I64, others: U32, forward: I8, backward: I8) -> Rows:
    """Steps in the order taken, each of the list of `owners[i]` (int64 [n]), as rows by owner."""
    order = np.argsort(owners, kind="stable")
    steps = np.empty(len(order), STEP)
    steps["other"], steps["forward"], steps["backward"] = others[order], forward[order], backward[order]
    ordinals, first = np.unique(owners[order], return_index=True)
    bounds = np.append(first, len(order)).astype(np.int64) * STEP.itemsize
    return Rows(NEIGHBOUR_STEPS, ordinals, bounds, steps.view(np.uint8))


@numba.njit(cache=True)
def take_steps(
    items: I64,
    bounds: I64,
    others: U32,
    forward: I8,
    backward: I8,
    batch_seq: int,
    lists: Lists,
    changed_at: I64,
) -> None:
    """Take steps `bounds[i]:bounds[i + 1]` on the list of `items[i]`, unless it has them already."""
    for i in range(len(items)):
        item = items[i]
        if changed_at[item] >= batch_seq:
            continue
        for step in range(bounds[i], bounds[i + 1]):
            add(lists, item, int(others[step]), int(forward[step]), int(backward[step]))
        changed_at[item] = batch_seq


@numba.njit(cache=True)
def pack_lists(
    items: I64,
    bounds: I64,
    other: U8,
    forward: U8,
    backward: U8,
    length: I32,
    changed_at: U8,
    out: U8,
) -> None:
    """Write the list of `items[i]` at `out[bounds[i]]`; columns and `changed_at` as bytes."""
    for i in range(len(items)):
        item = items[i]
        p = bounds[i]
        used = int(length[item])
        out[p] = FORMAT
        copy_bytes(out, p + 1, changed_at, item * 8, 8)
        out[p + 9] = used & 0xFF
        out[p + 10] = used >> 8
        p += HEADER_BYTES
        for column in (other, forward, backward):
            copy_bytes(out, p, column, item * column.shape[1], used * 4)
            p += used * 4


@numba.njit(cache=True)
def unpack_lists(
    items: I64,
    bounds: I64,
    data: U8,
    slots: I64,
    other: U8,
    forward: U8,
    backward: U8,
    length: I32,
    changed_at: I64,
) -> Mask:
    """Inverse of `pack_lists`; which rows were as long as they say, and of this format, bool [n]."""
    taken = np.empty(len(items), np.bool_)
    changed_at_bytes = changed_at.view(np.uint8)
    for i in range(len(items)):
        item = items[i]
        p = bounds[i]
        taken[i] = data[p] == FORMAT and np.int64(data[p + 9]) | np.int64(data[p + 10]) << 8 == slots[i]
        if not taken[i]:
            continue
        copy_bytes(changed_at_bytes, item * 8, data, p + 1, 8)
        length[item] = slots[i]
        p += HEADER_BYTES
        for column in (other, forward, backward):
            copy_bytes(column, item * column.shape[1], data, p, slots[i] * 4)
            p += slots[i] * 4
    return taken
