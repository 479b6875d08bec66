"""Who is where: ids and permanent ordinals of resident rows, and the slot that each has now.

A *dense* index gives a row the slot of its ordinal. In any other, rows come and go: a slot is where a row
happens to be, the ordinal is who it is.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from state import maps
from state.arrays import I32, I64, U8, U64
from state.copying import grown
from state.errors import RowsExhaustedError
from state.kernels import spans


class Ids:
    """Slots of `capacity` rows of one kind, which are found by id if they are `indexed`.

    `ordinals` uint32 [capacity]; `start` int64 and `length` int32 [capacity] are each id's span of `arena`.
    """

    def __init__(self, kind: str, capacity: int, *, dense: bool, indexed: bool) -> None:
        """`kind` names the rows in errors."""
        self._kind, self.capacity, self.dense, self._indexed = kind, capacity, dense, indexed
        self.ordinals = np.zeros(capacity, np.uint32)
        self.size = 0
        self._used = np.zeros(capacity, np.bool_)
        self._fresh = 0
        self._free: list[int] = []
        self._hashes = np.zeros(capacity, np.uint64)
        self.start, self.length = np.zeros(capacity, np.int64), np.zeros(capacity, np.int32)
        self.arena, self._top, self._held = np.zeros(1 << 16, np.uint8), 0, 0
        self._tags, self._table = np.zeros(1024, np.uint32), np.full(1024, maps.EMPTY, np.int32)
        self.by_ordinal: I32 = np.full(1024, maps.EMPTY, np.int32)

    @property
    def slots(self) -> I64:
        """Slots in use, ascending."""
        return np.flatnonzero(self._used[: self._fresh])

    def find(self, buffer: U8, start: I64, length: I32, hashes: U64) -> I64:
        """Slots of ids given as spans of `buffer` with their hashes; -1 where not resident."""
        out = np.empty(len(start), np.int64)
        maps.find_ids(
            buffer, start, length, hashes, self._tags, self._table, self.start, self.length, self.arena, out
        )
        return out

    def find_ids(self, ids: Sequence[bytes]) -> I64:
        """Slots of ids; -1 where not resident."""
        return self.find(*spans(ids))

    def find_ordinals(self, ordinals: npt.NDArray[np.integer]) -> I64:
        """Slots of permanent ordinals; -1 where not resident."""
        if self.dense:
            wanted = ordinals.astype(np.int64)
            resident = (wanted < self.capacity) & self._used[np.minimum(wanted, self.capacity - 1)]
            return np.where(resident, wanted, maps.EMPTY)
        out = np.empty(len(ordinals), np.int64)
        maps.find_ordinals(np.asarray(ordinals, np.int64), self.ordinals, self.by_ordinal, out)
        return out

    def of(self, slots: I64) -> list[bytes]:
        """Ids of slots."""
        start, stop = self.start[slots], self.start[slots] + self.length[slots]
        return [self.arena[a:b].tobytes() for a, b in zip(start.tolist(), stop.tolist(), strict=True)]

    def add(self, buffer: U8, start: I64, length: I32, hashes: U64, ordinals: I64) -> tuple[I64, I64]:
        """Slots for ids that are not resident, and those among them that were used before.

        Raises RowsExhaustedError if they do not fit; then nothing has changed.
        """
        never_used = self._fresh
        slots = self._take_slots(ordinals)
        self.size += len(slots)
        self.ordinals[slots] = ordinals
        self._hashes[slots] = hashes
        self._write(slots, buffer, start, length)
        self._enter(slots)
        return slots, slots[slots < never_used]

    def forget(self, slots: I64) -> None:
        """Give slots back."""
        if self._indexed:
            maps.delete_ids(slots, self._hashes, self._tags, self._table)
        if not self.dense:
            maps.delete_ordinals(slots, self.ordinals, self.by_ordinal)
        self._used[slots] = False
        self._free.extend(slots.tolist())
        self.size -= len(slots)
        self._held -= int(self.length[slots].sum())
        self.length[slots] = 0

    def _take_slots(self, ordinals: I64) -> I64:
        n = len(ordinals)
        if self.dense:
            slots = ordinals.astype(np.int64)
            highest = int(slots.max(initial=-1)) + 1
        else:
            reused = min(n, len(self._free))
            highest = self._fresh + n - reused
            if highest <= self.capacity:
                taken = [self._free.pop() for _ in range(reused)]
                slots = np.concatenate([np.array(taken, np.int64), np.arange(self._fresh, highest)])
        if highest > self.capacity:
            raise RowsExhaustedError(
                f"{highest} resident {self._kind} rows are needed and the bound is {self.capacity}: "
                "raise `state.rows_max` (users) or `state.items_max` (items), "
                "or lower `learning.batch_records_max`"
            )
        self._fresh = max(self._fresh, highest)
        self._used[slots] = True
        return slots

    def _write(self, slots: I64, buffer: U8, start: I64, length: I32) -> None:
        added = int(length.sum())
        if self._top + added > len(self.arena):
            self._make_room(added)
        ends = self._top + np.cumsum(length)
        self.start[slots] = ends - length
        self.length[slots] = length
        source = np.arange(added) + np.repeat(start - (ends - length - self._top), length)
        self.arena[self._top : self._top + added] = buffer[source]
        self._top += added
        self._held += added

    def _make_room(self, added: int) -> None:
        """Drop the ids of rows that have gone if they are half of the arena, else make it larger."""
        written = np.flatnonzero(self._used & (self.length > 0))
        if self._held * 2 < self._top:
            order = written[np.argsort(self.start[written])]
            self._top = int(maps.pack_arena(order, self.start, self.length, self.arena))
        needed = self._top + added
        if needed > len(self.arena):
            self.arena = grown(self.arena, needed)

    def _enter(self, slots: I64) -> None:
        """Make new slots findable; a map that is more than 70 % full is built anew, twice as large."""
        size = len(self._table)
        while self.size * 10 > size * 7:
            size *= 2
        if size > len(self._table):
            self._tags, self._table = np.zeros(size, np.uint32), np.full(size, maps.EMPTY, np.int32)
            self.by_ordinal = np.full(1 if self.dense else size, maps.EMPTY, np.int32)
            slots = self.slots
        if self._indexed:
            maps.insert_ids(slots, self._hashes, self._tags, self._table)
        if not self.dense:
            maps.insert_ordinals(slots, self.ordinals, self.by_ordinal)
