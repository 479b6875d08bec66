"""Resident rows of one kind: ids, columns and lists of entries, as its layout says.

Capacity is allocated once and lazily backed by memory, so a table costs what it holds, and never more than
its bound.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from state import maps
from state.arrays import I32, I64, U8, U32, U64
from state.codec import CHANGED_AT, Layout, pack_rows, read_headers, rows_size, unpack_rows
from state.entries import Entries
from state.errors import StoreCorruptError
from state.ids import Ids
from state.kernels import hash_spans
from state.store import Rows


class Table:
    """Rows whose slot is their ordinal (`dense`), or that come and go. Implements `state.kinds.Part`.

    `columns`: by name, [capacity, width]; one of them is `changed_at` int64 [capacity], the micro-batch of
    the last change. `lists`: the entries. `touched_at` int64 [capacity]: when a slot was last needed; it is
    not stored.
    """

    def __init__(self, layout: Layout, capacity: int, entries_max: int, *, dense: bool) -> None:
        self.layout, self.capacity = layout, capacity
        self.index = Ids(layout.name, capacity, dense=dense, indexed=layout.indexed)
        self.columns = {c.name: np.zeros((capacity, c.width), c.dtype) for c in layout.columns}
        self.lists = Entries(layout.entries, capacity, entries_max)
        self.changed_at: I64 = self.columns[CHANGED_AT.name].reshape(-1)
        self.touched_at = np.zeros(capacity, np.int64)
        self._marked: list[I64] = []
        self._seen = np.zeros(capacity, np.bool_)

    @property
    def size(self) -> int:
        """Rows held."""
        return self.index.size

    @property
    def slots(self) -> I64:
        """Slots in use, ascending."""
        return self.index.slots

    @property
    def ordinals(self) -> U32:
        """Permanent ordinal of each slot, uint32 [capacity]."""
        return self.index.ordinals

    def find(self, buffer: U8, start: I64, length: I32, hashes: U64) -> I64:
        """Slots of ids given as spans of `buffer` with their hashes; -1 where not resident."""
        return self.index.find(buffer, start, length, hashes)

    def find_ids(self, ids: Sequence[bytes]) -> I64:
        """Slots of ids; -1 where not resident."""
        return self.index.find_ids(ids)

    def find_ordinals(self, ordinals: npt.NDArray[np.integer]) -> I64:
        """Slots of permanent ordinals; -1 where not resident."""
        return self.index.find_ordinals(ordinals)

    def ids(self, slots: I64) -> list[bytes]:
        """Ids of slots."""
        return self.index.of(slots)

    def distinct(self, slots: I64) -> I64:
        """Each of `slots` once, in order of first appearance."""
        distinct: I64 = maps.distinct(slots, self._seen)
        return distinct

    def add(self, buffer: U8, start: I64, length: I32, hashes: U64, ordinals: I64) -> I64:
        """Make room for ids that are not resident; their columns are zero, their lists empty."""
        slots, reused = self.index.add(buffer, start, length, hashes, ordinals)
        for column in self.columns.values():
            column[reused] = 0
        self.lists.length[slots] = 0
        return slots

    def apply(self, rows: Rows) -> I64:
        """Insert packed rows, or overwrite those that are resident; their slots.

        Raises StoreCorruptError if one of them cannot be a row of this table.
        """
        id_start, id_length, entry_length = read_headers(self.layout, rows)
        if entry_length.max(initial=0) > self.lists.most:
            longest = int(entry_length.argmax())
            raise StoreCorruptError(
                f"{self.layout.name} row {rows.ordinals[longest]} has a list of {entry_length[longest]} and "
                f"the bound is {self.lists.most}: the store is damaged; restore a checkpoint, or relearn"
            )
        slots = self.find_ordinals(rows.ordinals)
        new = np.flatnonzero(slots < 0)
        if len(new):
            hashes = hash_spans(rows.data, id_start[new], id_length[new])
            slots[new] = self.add(rows.data, id_start[new], id_length[new], hashes, rows.ordinals[new])
        self.lists.resize(slots, entry_length)
        unpack_rows(
            self._byte_columns,
            self.lists.raw,
            self.lists.start,
            self.lists.length,
            slots,
            rows.bounds,
            rows.data,
        )
        return slots

    def pack(self, slots: I64) -> Rows:
        """Rows of slots, ascending by ordinal."""
        index, lists = self.index, self.lists
        slots = slots[np.argsort(index.ordinals[slots])]
        bounds = np.zeros(len(slots) + 1, np.int64)
        np.cumsum(rows_size(index.length[slots], lists.length[slots], self.layout), out=bounds[1:])
        data = np.empty(bounds[-1], np.uint8)
        pack_rows(
            self._byte_columns,
            lists.raw,
            index.start,
            index.length,
            index.arena,
            lists.start,
            lists.length,
            slots,
            bounds,
            data,
        )
        return Rows(self.layout.code, index.ordinals[slots].astype(np.int64), bounds, data)

    def mark(self, slots: I64) -> None:
        """Have rows journalled with the next micro-batch."""
        self._marked.append(slots)

    def take_changed(self) -> Rows:
        """Rows marked since the last call."""
        marked, self._marked = self._marked, []
        return self.pack(marked[0] if len(marked) == 1 else np.unique(np.concatenate([_NONE, *marked])))

    def changed_since(self, batch_seq: int) -> Rows:
        """Every row that changed after a micro-batch."""
        return self.pack(self._slots_since(batch_seq))

    def changed_count(self, batch_seq: int) -> int:
        """How many rows changed after a micro-batch."""
        return len(self._slots_since(batch_seq))

    def evict(self, slots: I64) -> None:
        """Forget rows that live on disk."""
        self.index.forget(slots)
        self.lists.resize(slots, np.zeros(len(slots), np.int32))

    def _slots_since(self, batch_seq: int) -> I64:
        slots = self.slots
        return slots[self.changed_at[slots] > batch_seq]

    @property
    def _byte_columns(self) -> tuple[U8, ...]:
        return tuple(column.view(np.uint8) for column in self.columns.values())


_NONE = np.zeros(0, np.int64)
