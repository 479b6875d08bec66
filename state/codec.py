"""Rows, journal entries and the schedule as bytes.

A *row* is: format (1 byte), length of the id (uint16), number of entries (uint16), the id, the fixed
columns of its kind in order, then each entry column for all entries. All numbers are little endian.
A row names others by their permanent ordinals, never by slots, so equal states have equal bytes
however they are laid out in memory.

A *journal entry* is a header and, for each kind, the packed rows that one micro-batch changed.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import orjson

from state.arrays import I32, I64, U8, U64
from state.copying import copy_bytes
from state.errors import FormatMismatchError, StoreCorruptError
from state.kernels import spans
from state.prefetch import prefetch
from state.scoring.popularity import DECAYS
from state.store import JournalEntry, Rows

FORMAT = 1
"""Version of all that this module and `state.rocksdb` write; raised when old bytes can no longer be read."""

ROW_HEADER_BYTES = 5
AHEAD_ROWS = 4
"""How far ahead rows are prefetched when they are packed."""
_JOURNAL_HEADER = struct.Struct("<2sHqI")
_BLOCK_HEADER = struct.Struct("<IQQ")
_JOURNAL_MAGIC = b"LJ"

USER, ITEM, GLOBAL, EVENT_IDS, NEIGHBOURS, NEIGHBOUR_STEPS, EVIDENCE, INPUTS = range(1, 9)
"""Codes of the kinds in `state.kinds`. A new one takes the next number; nothing else changes on disk."""


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a row: `width` numbers of one type."""

    name: str
    dtype: npt.DTypeLike
    width: int = 1

    @property
    def size(self) -> int:
        """Bytes in a row."""
        return int(np.dtype(self.dtype).itemsize) * self.width


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of row: its fixed columns, and the columns of its list of entries.

    `indexed`: rows are found by the ids that they carry; others are known by their ordinal alone.
    """

    code: int
    name: str
    columns: tuple[Column, ...]
    entries: tuple[Column, ...] = ()
    indexed: bool = True

    @property
    def fixed_bytes(self) -> int:
        """Bytes of the fixed columns."""
        return sum(column.size for column in self.columns)

    @property
    def entry_bytes(self) -> int:
        """Bytes of one entry."""
        return sum(column.size for column in self.entries)


CHANGED_AT = Column("changed_at", np.int64)
"""The micro-batch in which a row was last changed: every layout has it."""


def factor_columns(rank: int) -> tuple[Column, ...]:
    """Columns that users and items share."""
    return (
        Column("vector", np.float32, rank),
        Column("bias", np.float32),
        Column("accumulator", np.float32),
        Column("interactions", np.int32),
        CHANGED_AT,
    )


HISTORY = (Column("other", np.uint32), Column("strength", np.float32))
"""The latest interactions, oldest first: ordinal on the other side, signed strength (or the rating)."""


def user_layout(rank: int) -> Layout:
    """Users; `last_event_ms` is the time of the latest interaction."""
    return Layout(USER, "user", (*factor_columns(rank), Column("last_event_ms", np.int64)), HISTORY)


def item_layout(rank: int) -> Layout:
    """Items; `counts` are decayed counts of likes as of the event numbered `counted_at`."""
    popularity = (Column("counts", np.float64, len(DECAYS)), Column("counted_at", np.int64))
    return Layout(ITEM, "item", factor_columns(rank) + popularity, HISTORY)


@numba.njit(cache=True)
def pack_rows(
    columns: tuple[U8, ...],
    entries: tuple[U8, ...],
    id_start: I64,
    id_length: I32,
    id_arena: U8,
    entry_start: I64,
    entry_length: I32,
    slots: I64,
    bounds: I64,
    out: U8,
) -> None:
    """Write the rows of `slots` into `out` [uint8], row i at `bounds[i]`.

    `columns`: tuple of uint8 [capacity, bytes]; `entries`: tuple of uint8 [arena, bytes].
    """
    for i in range(len(slots)):
        if i + AHEAD_ROWS < len(slots):
            ahead = slots[i + AHEAD_ROWS]
            for c in range(len(columns)):
                prefetch(columns[c], ahead)
            prefetch(id_start, ahead)
            prefetch(id_length, ahead)
            prefetch(entry_start, ahead)
            prefetch(entry_length, ahead)
        slot = slots[i]
        p = bounds[i]
        length = id_length[slot]
        count = entry_length[slot]
        out[p] = FORMAT
        out[p + 1] = length & 0xFF
        out[p + 2] = length >> 8
        out[p + 3] = count & 0xFF
        out[p + 4] = count >> 8
        p += ROW_HEADER_BYTES
        copy_bytes(out, p, id_arena, id_start[slot], length)
        p += length
        for c in range(len(columns)):
            column = columns[c]
            width = column.shape[1]
            copy_bytes(out, p, column, slot * width, width)
            p += width
        for c in range(len(entries)):
            column = entries[c]
            width = column.shape[1]
            copy_bytes(out, p, column, entry_start[slot] * width, count * width)
            p += count * width


@numba.njit(cache=True)
def unpack_rows(
    columns: tuple[U8, ...],
    entries: tuple[U8, ...],
    entry_start: I64,
    entry_length: I32,
    slots: I64,
    bounds: I64,
    data: U8,
) -> None:
    """Inverse of `pack_rows` for everything but the id; room for the entries has been made."""
    for i in range(len(slots)):
        slot = slots[i]
        p = bounds[i]
        length = np.int64(data[p + 1]) | np.int64(data[p + 2]) << 8
        count = np.int64(data[p + 3]) | np.int64(data[p + 4]) << 8
        p += ROW_HEADER_BYTES + length
        for c in range(len(columns)):
            column = columns[c]
            width = column.shape[1]
            copy_bytes(column, slot * width, data, p, width)
            p += width
        entry_length[slot] = count
        for c in range(len(entries)):
            column = entries[c]
            width = column.shape[1]
            copy_bytes(column, entry_start[slot] * width, data, p, count * width)
            p += count * width


@numba.njit(cache=True)
def row_headers(bounds: I64, data: U8, id_start: I64, id_length: I32, entry_length: I32) -> int:
    """Read where each row's id lies in `data` and how many entries follow.

    Returns the index of the first row that is not of this format or too short, or -1.
    """
    for i in range(len(bounds) - 1):
        p = bounds[i]
        if bounds[i + 1] - p < ROW_HEADER_BYTES or data[p] != FORMAT:
            return i
        id_start[i] = p + ROW_HEADER_BYTES
        id_length[i] = np.int32(data[p + 1]) | np.int32(data[p + 2]) << 8
        entry_length[i] = np.int32(data[p + 3]) | np.int32(data[p + 4]) << 8
    return -1


def read_headers(layout: Layout, rows: Rows) -> tuple[I64, I32, I32]:
    """Start and length of each row's id in `rows.data`, and its number of entries; checks every size."""
    n = len(rows)
    id_start, id_length = np.empty(n, np.int64), np.empty(n, np.int32)
    entry_length = np.empty(n, np.int32)
    bad = row_headers(rows.bounds, rows.data, id_start, id_length, entry_length)
    if bad < 0:
        sizes = (
            ROW_HEADER_BYTES
            + id_length
            + layout.fixed_bytes
            + entry_length.astype(np.int64) * layout.entry_bytes
        )
        wrong = np.flatnonzero(sizes != np.diff(rows.bounds))
        bad = int(wrong[0]) if len(wrong) else -1
    if bad >= 0:
        raise StoreCorruptError(
            f"{layout.name} row {rows.ordinals[bad]} has {rows.bounds[bad + 1] - rows.bounds[bad]} bytes, "
            f"which no row of format {FORMAT} has: the store is damaged or of another rank; "
            "restore a checkpoint or relearn from the log"
        )
    return id_start, id_length, entry_length


def row_id(row: bytes) -> bytes:
    """The id in one row."""
    length = int.from_bytes(row[1:3], "little")
    return row[ROW_HEADER_BYTES : ROW_HEADER_BYTES + length]


def row_ids(rows: Rows) -> tuple[I64, I32]:
    """Start and length of each row's id in `rows.data`."""
    n = len(rows)
    id_start, id_length, entry_length = np.empty(n, np.int64), np.empty(n, np.int32), np.empty(n, np.int32)
    row_headers(rows.bounds, rows.data, id_start, id_length, entry_length)
    return id_start, id_length


INDEX_PREFIX_BYTES = 10
"""Bytes of an index key before the id: `i`, the kind, and the id's hash, big endian."""


@numba.njit(cache=True)
def index_keys(kind: int, buffer: U8, start: I64, length: I32, hashes: U64, bounds: I64, out: U8) -> None:
    """Keys of the index from ids (spans of `buffer`) to ordinals; key i begins at `out[bounds[i]]`.

    They sort by the ids' hashes, which compiled code can do.
    """
    for i in range(len(start)):
        p = bounds[i]
        out[p] = ord("i")
        out[p + 1] = kind
        for byte in range(8):
            out[p + 2 + byte] = (hashes[i] >> np.uint64(56 - 8 * byte)) & np.uint64(0xFF)
        copy_bytes(out, p + INDEX_PREFIX_BYTES, buffer, start[i], length[i])


def id_keys(kind: int, ids: Sequence[bytes]) -> list[bytes]:
    """Keys of the index from ids to ordinals."""
    buffer, start, length, hashes = spans(ids)
    bounds = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(length + INDEX_PREFIX_BYTES, out=bounds[1:])
    keys = np.empty(bounds[-1], np.uint8)
    index_keys(kind, buffer, start, length, hashes, bounds, keys)
    joined = keys.tobytes()
    return [joined[a:b] for a, b in pairwise(bounds.tolist())]


def single_rows(kind: int, rows: Mapping[int, bytes]) -> Rows:
    """Rows that are already bytes, such as global arrays, as one block ascending by ordinal."""
    ordinals = np.array(sorted(rows), np.int64)
    values = [rows[int(ordinal)] for ordinal in ordinals]
    bounds = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) for value in values], out=bounds[1:])
    return Rows(kind, ordinals, bounds, np.frombuffer(b"".join(values), np.uint8))


def pack_journal(entry: JournalEntry) -> bytes:
    """One value for the journal."""
    parts: list[Any] = [_JOURNAL_HEADER.pack(_JOURNAL_MAGIC, FORMAT, entry.batch_seq, len(entry.rows))]
    for rows in entry.rows:
        parts += [
            _BLOCK_HEADER.pack(rows.kind, len(rows), len(rows.data)),
            np.ascontiguousarray(rows.ordinals, "<i8").data,
            np.ascontiguousarray(rows.bounds, "<i8").data,
            np.ascontiguousarray(rows.data).data,
        ]
    return b"".join(parts)


def unpack_journal(value: bytes) -> JournalEntry:
    """Inverse of `pack_journal`; the rows are a view of `value`.

    Their ordinals and bounds are not: there they may stand at any address, and a kernel would be compiled
    once more for each alignment.
    """
    try:
        magic, version, batch_seq, blocks = _JOURNAL_HEADER.unpack_from(value)
        if magic != _JOURNAL_MAGIC:
            raise StoreCorruptError(
                "a journal entry does not begin as one: restore a checkpoint or relearn from the log"
            )
        if version != FORMAT:
            raise FormatMismatchError(
                f"a journal entry has format {version}, this program reads {FORMAT}: "
                "run `livefactor state upgrade`"
            )
        p, rows = _JOURNAL_HEADER.size, []
        for _ in range(blocks):
            kind, n, size = _BLOCK_HEADER.unpack_from(value, p)
            p += _BLOCK_HEADER.size
            ordinals = np.frombuffer(value, "<i8", n, p).copy()
            bounds = np.frombuffer(value, "<i8", n + 1, p + 8 * n).copy()
            data = np.frombuffer(value, np.uint8, size, p + 8 * (2 * n + 1))
            p += 8 * (2 * n + 1) + size
            rows.append(_checked(Rows(kind, ordinals, bounds, data)))
        if p != len(value):
            raise ValueError(f"{len(value) - p} bytes follow its last row")
    except (struct.error, ValueError, OverflowError) as error:
        raise StoreCorruptError(
            f"a journal entry is damaged ({error}): restore a checkpoint or relearn from the log"
        ) from error
    return JournalEntry(batch_seq, tuple(rows))


def _checked(rows: Rows) -> Rows:
    """Rows whose bounds lie within their data: compiled code reads along them without looking."""
    if rows.bounds[0] != 0 or rows.bounds[-1] != len(rows.data) or (np.diff(rows.bounds) < 0).any():
        raise ValueError("rows do not lie one after the other")
    if len(rows) and (rows.ordinals[0] < 0 or (np.diff(rows.ordinals) <= 0).any()):
        raise ValueError("ordinals do not ascend")
    return rows


def pack_schedule(entry: Mapping[str, object]) -> bytes:
    """A schedule entry as JSON: it is small, and people read it."""
    return orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)


def unpack_schedule(value: bytes) -> Mapping[str, Any]:
    """Inverse of `pack_schedule`."""
    entry: Mapping[str, Any] = orjson.loads(value)
    return entry


def rows_size(id_length: I32, entry_length: I32, layout: Layout) -> I64:
    """Bytes of packed rows."""
    return (
        ROW_HEADER_BYTES
        + id_length.astype(np.int64)
        + layout.fixed_bytes
        + entry_length.astype(np.int64) * layout.entry_bytes
    )
