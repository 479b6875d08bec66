"""A flush: changed rows become one sorted file that RocksDB takes over whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from rocksdict import SstFileWriter

from state.arrays import I32, I64, U8, U64
from state.codec import INDEX_PREFIX_BYTES, index_keys, row_ids
from state.kernels import hash_spans
from state.rocksdb.database import FLUSHED_KEY, named_error, pack_flushed, row_options, row_prefix
from state.store import Rows


class Owner(Protocol):
    """The writer that a flush belongs to."""

    journal_bytes: int

    def ingest(self, file: Path, through: int, journal_bytes: int) -> None:
        """Take the finished file over."""
        ...


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs in key order: key i is `keys[key_bounds[i] : key_bounds[i + 1]]`, values likewise."""

    keys: U8
    key_bounds: I64
    values: U8
    value_bounds: I64

    def __len__(self) -> int:
        return len(self.key_bounds) - 1


class RocksFlush:
    """Dirty rows on their way to the row family. Implements `state.store.Flush`.

    1. Sync the write-ahead log: rows must never be ahead of the offsets they belong to.
    2. Write rows, index entries and `flushed_through` into one SST file, in key order.
    3. Ingest the file: from here on recovery starts behind `through`.
    """

    def __init__(
        self, owner: Owner, file: Path, rows: list[Rows], first_new: Mapping[int, int], through: int
    ) -> None:
        self._owner, self._file, self._through = owner, file, through
        self._journal_bytes = owner.journal_bytes
        self._sst = SstFileWriter(row_options())
        self._sst.open(str(file))
        self._sst[FLUSHED_KEY] = pack_flushed(through)
        blocks = sorted((block for block in rows if len(block)), key=lambda block: block.kind)
        indexed = [_index_pairs(block, first_new[block.kind]) for block in blocks if block.kind in first_new]
        self._pending = [*indexed, *map(_row_pairs, blocks)]
        self._position = 0

    def advance(self, rows_max: int) -> bool:
        """Write up to `rows_max` pairs more; True when the flush is complete."""
        try:
            while self._pending and rows_max > 0:
                rows_max -= self._write(self._pending[0], rows_max)
            if self._pending:
                return False
            self._sst.finish()
            self._owner.ingest(self._file, self._through, self._journal_bytes)
        except Exception as error:
            raise named_error(error, self._file) from error
        return True

    def _write(self, pairs: _Pairs, count: int) -> int:
        """Write up to `count` of some pairs; how many."""
        first = self._position
        stop = min(first + count, len(pairs))
        keys, key_bounds = _cut(pairs.keys, pairs.key_bounds, first, stop)
        values, value_bounds = _cut(pairs.values, pairs.value_bounds, first, stop)
        sst = self._sst
        for i in range(stop - first):
            sst[keys[key_bounds[i] : key_bounds[i + 1]]] = values[value_bounds[i] : value_bounds[i + 1]]
        self._position = stop
        if stop == len(pairs):
            self._pending.pop(0)
            self._position = 0
        return stop - first


def _cut(data: U8, bounds: I64, first: int, stop: int) -> tuple[bytes, list[int]]:
    """Segments from `first` up to `stop`: only a slice at a time is held twice."""
    offset = bounds[first]
    return data[offset : bounds[stop]].tobytes(), (bounds[first : stop + 1] - offset).tolist()


def _row_pairs(block: Rows) -> _Pairs:
    """Rows under their ordinals."""
    keys = np.empty((len(block), 10), np.uint8)
    keys[:, :2] = np.frombuffer(row_prefix(block.kind), np.uint8)
    keys[:, 2:] = block.ordinals.astype(">u8").view(np.uint8).reshape(-1, 8)
    return _Pairs(keys.reshape(-1), np.arange(0, keys.size + 1, 10), block.data, block.bounds)


def _index_pairs(block: Rows, first: int) -> _Pairs:
    """Ordinals of new rows under their ids, in the order of the ids' hashes."""
    start, length = row_ids(block)
    new = np.flatnonzero(block.ordinals >= first)
    start, length = start[new], length[new]
    hashes = hash_spans(block.data, start, length)
    order = np.argsort(hashes, kind="stable")
    if (hashes[order[1:]] == hashes[order[:-1]]).any():
        order = _by_hash_and_id(block, start, length, hashes)
    bounds = np.zeros(len(new) + 1, np.int64)
    np.cumsum(length[order] + INDEX_PREFIX_BYTES, out=bounds[1:])
    keys = np.empty(bounds[-1], np.uint8)
    index_keys(block.kind, block.data, start[order], length[order], hashes[order], bounds, keys)
    values = block.ordinals[new[order]].astype("<u8").view(np.uint8)
    return _Pairs(keys, bounds, values, np.arange(0, len(values) + 1, 8))


def _by_hash_and_id(block: Rows, start: I64, length: I32, hashes: U64) -> I64:
    """The order of index keys where different ids share a hash."""
    ids = [block.data[a : a + n].tobytes() for a, n in zip(start.tolist(), length.tolist(), strict=True)]
    return np.array(sorted(range(len(ids)), key=lambda i: (int(hashes[i]), ids[i])), np.int64)
