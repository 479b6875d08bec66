"""Resident rows: ids to slots, and what each slot holds, in dense arrays.

Items are *dense*: their slot is their permanent ordinal, and they are always resident. Users come
and go: a slot is where a user happens to be now, the ordinal is who it is. Capacity is allocated
once and lazily backed by memory, so a table costs what it holds, and never more than its bound.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from state import maps
from state.codec import Kind, pack_rows, read_headers, rows_size, unpack_rows
from state.errors import RowsExhaustedError, StoreCorruptError
from state.kernels import hash_spans, spans
from state.store import I64, U8, Rows

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
Number = TypeVar("Number", bound=np.generic)


def block_sizes(history_max: int) -> I64:
    """Sizes of history blocks: growing by half, multiples of four; the last one holds a full history."""
    sizes = [4]
    while sizes[-1] < history_max:
        sizes.append(min(sizes[-1] + max(4, sizes[-1] // 8 * 4), -(-history_max // 4) * 4))
    return np.array(sizes, np.int64)


class Table:
    """Resident rows of one kind.

    Columns have one row per slot: `vectors` float32 [capacity, rank]; `bias`, `accumulator` float32;
    `interactions` int32 (learnt so far); `changed_at` int64 (micro-batch of the last change); users also
    `last_event_ms` int64; items also `counts` float64 [capacity, 5] and `counted_at` int64: see
    `state.scoring.popularity`. `touched_at` int64 is when a slot was last needed; it is not stored.
    """

    def __init__(self, kind: Kind, capacity: int, history_max: int, *, dense: bool) -> None:
        self.kind, self.capacity, self.history_max, self.dense = kind, capacity, history_max, dense
        self.columns = {c.name: np.zeros((capacity, c.width), c.dtype) for c in kind.columns}
        self.vectors: F32 = self.columns["vector"]
        self.bias: F32 = self.columns["bias"].reshape(-1)
        self.accumulator: F32 = self.columns["accumulator"].reshape(-1)
        self.interactions: I32 = self.columns["interactions"].reshape(-1)
        self.changed_at: I64 = self.columns["changed_at"].reshape(-1)
        self.touched_at = np.zeros(capacity, np.int64)
        self.ordinals = np.zeros(capacity, np.uint32)
        self.size = 0
        self._used = np.zeros(capacity, np.bool_)
        self._seen = np.zeros(capacity, np.bool_)
        self._fresh = 0
        self._free: list[int] = []
        self._hashes = np.zeros(capacity, np.uint64)
        self._id_start, self._id_length = np.zeros(capacity, np.int64), np.zeros(capacity, np.int32)
        self._id_arena, self._id_top, self._id_bytes = np.zeros(1 << 16, np.uint8), 0, 0
        self._tags, self._table = np.zeros(1024, np.uint32), np.full(1024, maps.EMPTY, np.int32)
        self._by_ordinal = np.full(1024, maps.EMPTY, np.int32)
        self._sizes = block_sizes(history_max)
        self._blocks = np.full(len(self._sizes), -1, np.int64)
        self._entry_top = np.zeros(1, np.int64)
        self._entry_start, self._entry_length = np.zeros(capacity, np.int64), np.zeros(capacity, np.int32)
        self._entry_class = np.full(capacity, -1, np.int8)
        self._other, self._strength = np.zeros(1 << 14, np.uint32), np.zeros(1 << 14, np.float32)

    @property
    def last_event_ms(self) -> I64:
        """Time of the latest interaction; users only."""
        return self.columns["last_event_ms"].reshape(-1)

    @property
    def counts(self) -> npt.NDArray[np.float64]:
        """Decayed counts of likes as of `counted_at`, float64 [capacity, 5]; items only."""
        return self.columns["counts"]

    @property
    def counted_at(self) -> I64:
        """Number of the event that `counts` were last brought up to; items only."""
        return self.columns["counted_at"].reshape(-1)

    @property
    def slots(self) -> I64:
        """Slots in use, ascending."""
        return np.flatnonzero(self._used[: self._fresh])

    def find(self, buffer: U8, start: I64, length: I32, hashes: U64) -> I64:
        """Slots of ids given as spans of `buffer` with their hashes; -1 where not resident."""
        out = np.empty(len(start), np.int64)
        maps.find_ids(
            buffer,
            start,
            length,
            hashes,
            self._tags,
            self._table,
            self._id_start,
            self._id_length,
            self._id_arena,
            out,
        )
        return out

    def distinct(self, slots: I64) -> I64:
        """Each of `slots` once, in order of first appearance."""
        distinct: I64 = maps.distinct(slots, self._seen)
        return distinct

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
        maps.find_ordinals(np.asarray(ordinals, np.int64), self.ordinals, self._by_ordinal, out)
        return out

    def ids(self, slots: I64) -> list[bytes]:
        """Ids of slots."""
        arena, start, stop = (
            self._id_arena,
            self._id_start[slots],
            self._id_start[slots] + self._id_length[slots],
        )
        return [arena[a:b].tobytes() for a, b in zip(start.tolist(), stop.tolist(), strict=True)]

    def history(self, slot: int) -> tuple[npt.NDArray[np.uint32], F32]:
        """Ordinals on the other side and signed strengths, oldest first: views, until the next change."""
        entries = slice(self._entry_start[slot], self._entry_start[slot] + self._entry_length[slot])
        return self._other[entries], self._strength[entries]

    def histories(self, slots: I64) -> tuple[I64, I64, F32]:
        """Histories of many slots as (bounds [n + 1], others, strengths)."""
        bounds = np.zeros(len(slots) + 1, np.int64)
        np.cumsum(self._entry_length[slots], out=bounds[1:])
        position = np.arange(bounds[-1]) - np.repeat(
            bounds[:-1] - self._entry_start[slots], self._entry_length[slots]
        )
        return bounds, self._other[position].astype(np.int64), self._strength[position]

    def add(self, buffer: U8, start: I64, length: I32, hashes: U64, ordinals: I64) -> I64:
        """Make room for ids that are not resident; their columns are zero, their histories empty."""
        never_used = self._fresh
        slots = self._take_slots(ordinals)
        self.size += len(slots)
        reused = slots[slots < never_used]
        for column in self.columns.values():
            column[reused] = 0
        self.ordinals[slots] = ordinals
        self._hashes[slots] = hashes
        self._entry_length[slots] = 0
        self._write_ids(slots, buffer, start, length)
        self._enter(slots)
        return slots

    def apply(self, rows: Rows) -> I64:
        """Insert packed rows, or overwrite those that are resident; their slots.

        Raises StoreCorruptError if one of them cannot be a row of this table.
        """
        id_start, id_length, entry_length = read_headers(self.kind, rows)
        if entry_length.max(initial=0) > self.history_max:
            longest = int(entry_length.argmax())
            raise StoreCorruptError(
                f"{self.kind.name} row {rows.ordinals[longest]} has a history of {entry_length[longest]} and "
                f"the bound is {self.history_max}: the store is damaged; restore a checkpoint, or relearn"
            )
        slots = self.find_ordinals(rows.ordinals)
        new = np.flatnonzero(slots < 0)
        if len(new):
            hashes = hash_spans(rows.data, id_start[new], id_length[new])
            slots[new] = self.add(rows.data, id_start[new], id_length[new], hashes, rows.ordinals[new])
        self._reserve_entries(int(self._sizes[np.searchsorted(self._sizes, entry_length)].sum()))
        maps.make_room(
            slots,
            entry_length,
            self._entry_start,
            self._entry_class,
            self._sizes,
            self._blocks,
            self._entry_top,
            self._other,
        )
        unpack_rows(
            self._byte_columns,
            self._byte_entries,
            self._entry_start,
            self._entry_length,
            slots,
            rows.bounds,
            rows.data,
        )
        return slots

    def pack(self, slots: I64) -> Rows:
        """Rows of slots, ascending by ordinal."""
        slots = slots[np.argsort(self.ordinals[slots])]
        bounds = np.zeros(len(slots) + 1, np.int64)
        np.cumsum(rows_size(self._id_length[slots], self._entry_length[slots], self.kind), out=bounds[1:])
        data = np.empty(bounds[-1], np.uint8)
        pack_rows(
            self._byte_columns,
            self._byte_entries,
            self._id_start,
            self._id_length,
            self._id_arena,
            self._entry_start,
            self._entry_length,
            slots,
            bounds,
            data,
        )
        return Rows(self.kind.code, self.ordinals[slots].astype(np.int64), bounds, data)

    def evict(self, slots: I64) -> None:
        """Forget rows that live on disk."""
        maps.delete_ids(slots, self._hashes, self._tags, self._table)
        if not self.dense:
            maps.delete_ordinals(slots, self.ordinals, self._by_ordinal)
        maps.make_room(
            slots,
            np.zeros(len(slots), np.int32),
            self._entry_start,
            self._entry_class,
            self._sizes,
            self._blocks,
            self._entry_top,
            self._other,
        )
        self._used[slots] = False
        self._free.extend(slots.tolist())
        self.size -= len(slots)
        self._id_bytes -= int(self._id_length[slots].sum())
        self._id_length[slots] = 0

    def entries(self, room: int) -> maps.Histories:
        """The histories, with room for `room` entries more; valid until rows come or go."""
        self._reserve_entries(room * int(self._sizes[-1]))
        return maps.Histories(
            self._entry_start,
            self._entry_length,
            self._entry_class,
            self._other,
            self._strength,
            self._sizes,
            self._blocks,
            self._entry_top,
            self.history_max,
        )

    @property
    def slot_map(self) -> tuple[npt.NDArray[np.uint32], I32]:
        """What `maps.find_ordinal` needs: permanent ordinals of slots, and the map. Not of a dense table."""
        return self.ordinals, self._by_ordinal

    def append(self, slots: I64, others: I64, strengths: F32) -> None:
        """Append interactions to histories, in order."""
        maps.append_entries(self.entries(len(slots)), slots, others, strengths)

    def remove(self, slot: int, other: int) -> float:
        """Take the latest interaction with `other` out of a history; its strength, NaN if there is none."""
        return float(maps.remove_entry(self.entries(0), slot, other))

    @property
    def _byte_columns(self) -> tuple[U8, ...]:
        return tuple(column.view(np.uint8) for column in self.columns.values())

    @property
    def _byte_entries(self) -> tuple[U8, ...]:
        return (self._other.view(np.uint8).reshape(-1, 4), self._strength.view(np.uint8).reshape(-1, 4))

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
                f"{highest} resident {self.kind.name} rows are needed and the bound is {self.capacity}: "
                "raise `state.rows_max` (users) or `state.items_max` (items), "
                "or lower `learning.batch_records_max`"
            )
        self._fresh = max(self._fresh, highest)
        self._used[slots] = True
        return slots

    def _write_ids(self, slots: I64, buffer: U8, start: I64, length: I32) -> None:
        added = int(length.sum())
        if self._id_top + added > len(self._id_arena):
            self._make_id_room(added)
        ends = self._id_top + np.cumsum(length)
        self._id_start[slots] = ends - length
        self._id_length[slots] = length
        source = np.arange(added) + np.repeat(start - (ends - length - self._id_top), length)
        self._id_arena[self._id_top : self._id_top + added] = buffer[source]
        self._id_top += added
        self._id_bytes += added

    def _make_id_room(self, added: int) -> None:
        """Drop the ids of evicted rows if they are half of the arena, else make it larger."""
        written = np.flatnonzero(self._used & (self._id_length > 0))
        if self._id_bytes * 2 < self._id_top:
            order = written[np.argsort(self._id_start[written])]
            self._id_top = int(maps.pack_arena(order, self._id_start, self._id_length, self._id_arena))
        needed = self._id_top + added
        if needed > len(self._id_arena):
            self._id_arena = _grown(self._id_arena, needed)

    def _reserve_entries(self, count: int) -> None:
        if int(self._entry_top[0]) + count <= len(self._other):
            return
        self._compact_entries()
        needed = int(self._entry_top[0]) + count
        if needed > len(self._other):
            self._other, self._strength = _grown(self._other, needed), _grown(self._strength, needed)

    def _compact_entries(self) -> None:
        """Close the gaps that outgrown histories have left, if they are an eighth of the arena."""
        slots = self.slots
        slots = slots[self._entry_class[slots] >= 0]
        held = int(self._sizes[self._entry_class[slots]].sum())
        if held * 8 <= int(self._entry_top[0]) * 7:
            order = slots[np.argsort(self._entry_start[slots])]
            maps.compact(
                order,
                self._entry_start,
                self._entry_class,
                self._other,
                self._strength,
                self._sizes,
                self._blocks,
                self._entry_top,
            )

    def _enter(self, slots: I64) -> None:
        """Make new slots findable; a map that is more than 70 % full is built anew, twice as large."""
        size = len(self._table)
        while self.size * 10 > size * 7:
            size *= 2
        if size > len(self._table):
            self._tags, self._table = np.zeros(size, np.uint32), np.full(size, maps.EMPTY, np.int32)
            self._by_ordinal = np.full(1 if self.dense else size, maps.EMPTY, np.int32)
            slots = self.slots
        maps.insert_ids(slots, self._hashes, self._tags, self._table)
        if not self.dense:
            maps.insert_ordinals(slots, self.ordinals, self._by_ordinal)


def _grown(array: npt.NDArray[Number], needed: int) -> npt.NDArray[Number]:
    """A copy with room for `needed` elements and a quarter more; what is not written costs no memory."""
    larger = np.zeros(needed + needed // 4, array.dtype)
    larger[: len(array)] = array
    return larger
