"""The latest idempotency keys of each partition: a second event with the same key is not learnt.

Each partition has a ring of 64-bit hashes, stored in chunks so that a micro-batch journals only the
chunks it wrote to. Two different keys among the latest 100,000 share a hash with probability 5e-15 an event.
"""

import numba
import numpy as np

from state.arrays import U64, Mask
from state.codec import EVENT_IDS, single_rows
from state.errors import StoreCorruptError
from state.store import Rows

CHUNK = 1_024
"""Hashes in one stored row (8 KiB)."""

CHUNKS_MAX = 16_384
"""Ordinals set aside for one partition, enough for the largest `decode.event_ids_kept`.

The last one holds how many hashes were ever written.
"""


@numba.njit(cache=True)
def _find(value: np.uint64, table: U64) -> np.uint64:
    """Where a hash is, or would be entered. Zero means empty."""
    mask = np.uint64(len(table) - 1)
    p = value & mask
    while table[p] != 0 and table[p] != value:
        p = (p + np.uint64(1)) & mask
    return p


@numba.njit(cache=True)
def _insert(value: np.uint64, table: U64) -> bool:
    """Enter a hash; False if it was there already."""
    p = _find(value, table)
    if table[p] == value:
        return False
    table[p] = value
    return True


@numba.njit(cache=True)
def _delete(value: np.uint64, table: U64) -> None:
    """Take a hash out by backward shift."""
    mask = np.uint64(len(table) - 1)
    one = np.uint64(1)
    p = value & mask
    while table[p] != value:
        p = (p + one) & mask
    q = p
    while True:
        q = (q + one) & mask
        if table[q] == 0:
            break
        if ((q - (table[q] & mask)) & mask) >= ((q - p) & mask):
            table[p] = table[q]
            p = q
    table[p] = 0


@numba.njit(cache=True)
def _admit(hashes: U64, ring: U64, written: int, table: U64, duplicate: Mask) -> int:
    """duplicate[i] = whether hashes[i] is among the latest; others enter and push the oldest out.

    Returns how many hashes were ever written.
    """
    kept = len(ring)
    for i in range(len(hashes)):
        if hashes[i] == 0:
            continue
        if not _insert(hashes[i], table):
            duplicate[i] = True
            continue
        p = written % kept
        if written >= kept:
            _delete(ring[p], table)
        ring[p] = hashes[i]
        written += 1
    return written


@numba.njit(cache=True)
def _contains(hashes: U64, table: U64) -> Mask:
    """Which of the hashes are entered."""
    seen = np.zeros(len(hashes), np.bool_)
    for i in range(len(hashes)):
        seen[i] = hashes[i] != 0 and table[_find(hashes[i], table)] == hashes[i]
    return seen


class _Ring:
    """One partition's latest hashes and the set of them."""

    def __init__(self, kept: int) -> None:
        self.hashes = np.zeros(kept, np.uint64)
        self.written = 0
        size = 16
        while size < 2 * (kept + 1):
            size *= 2
        self.table = np.zeros(size, np.uint64)

    def restore(self) -> None:
        """Build the set from the ring; a value that the set cannot hold raises StoreCorruptError."""
        self.table[:] = 0
        for value in self.hashes[: min(self.written, len(self.hashes))]:
            if value == 0 or not _insert(value, self.table):
                raise StoreCorruptError(
                    f"a ring of event ids holds {value:#x} where it cannot be: the store is damaged; "
                    "restore a checkpoint or relearn from the log"
                )


class EventIds:
    """The rings of all partitions. Implements `state.kinds.Part`."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self._rings: dict[int, _Ring] = {}
        self._dirty: dict[int, tuple[int, int]] = {}
        self._stale: set[int] = set()

    def admit(self, partition: int, hashes: U64) -> Mask:
        """Which of a partition's hashes (0: no key), in order of offset, were seen before.

        The others are now seen.
        """
        duplicate = np.zeros(len(hashes), np.bool_)
        if self.kept == 0 or not hashes.any():
            return duplicate
        ring = self._whole_ring(partition)
        before = ring.written
        ring.written = int(_admit(hashes, ring.hashes, before, ring.table, duplicate))
        first, _ = self._dirty.get(partition, (before, 0))
        self._dirty[partition] = (first, ring.written)
        return duplicate

    def seen(self, partition: int, hashes: U64) -> Mask:
        """Which of a partition's hashes (0: no key) were seen before; those that were not still are not."""
        if self.kept == 0 or partition not in self._rings:
            return np.zeros(len(hashes), np.bool_)
        return _contains(hashes, self._whole_ring(partition).table)

    def take_changed(self) -> Rows:
        """Rows written to since the last call."""
        rows: dict[int, bytes] = {}
        for partition, (first, last) in self._dirty.items():
            rows.update(self._chunks(partition, first, last))
        self._dirty.clear()
        return single_rows(EVENT_IDS, rows)

    def changed_since(self, batch_seq: int) -> Rows:
        """Every row: which have changed is not kept."""
        rows: dict[int, bytes] = {}
        for partition, ring in self._rings.items():
            rows.update(self._chunks(partition, max(0, ring.written - self.kept), ring.written))
        return single_rows(EVENT_IDS, rows)

    def changed_count(self, batch_seq: int) -> int:
        """None that a flush could put off."""
        return 0

    def apply(self, rows: Rows) -> None:
        """Restore stored rows."""
        for i, ordinal in enumerate(rows.ordinals.tolist()):
            partition, chunk = divmod(ordinal, CHUNKS_MAX)
            ring = self._ring(partition)
            size = len(ring.hashes[chunk * CHUNK : (chunk + 1) * CHUNK]) if chunk < CHUNKS_MAX - 1 else 1
            value = rows.row(i)
            if size == 0 or len(value) != 8 * size:
                raise StoreCorruptError(
                    f"event ids of partition {partition}: a row of {len(value)} bytes is not one of a ring "
                    f"of {self.kept}: the store is damaged; restore a checkpoint or relearn from the log"
                )
            values = np.frombuffer(value, np.uint64)
            if chunk == CHUNKS_MAX - 1:
                ring.written = int(values[0])
            else:
                ring.hashes[chunk * CHUNK : chunk * CHUNK + size] = values
            self._stale.add(partition)

    def _whole_ring(self, partition: int) -> _Ring:
        """A partition's ring, with the set of what is in it."""
        if partition in self._stale:
            self._rings[partition].restore()
            self._stale.discard(partition)
        return self._ring(partition)

    def _ring(self, partition: int) -> _Ring:
        if partition not in self._rings:
            self._rings[partition] = _Ring(self.kept)
        return self._rings[partition]

    def _chunks(self, partition: int, first: int, last: int) -> dict[int, bytes]:
        """Rows that hold the hashes numbered `first` to `last - 1`, and the count."""
        ring, base = self._rings[partition], partition * CHUNKS_MAX
        positions = np.arange(max(first, last - self.kept), last) % self.kept
        rows = {
            base + chunk: ring.hashes[chunk * CHUNK : (chunk + 1) * CHUNK].tobytes()
            for chunk in np.unique(positions // CHUNK).tolist()
        }
        rows[base + CHUNKS_MAX - 1] = np.array([ring.written], np.uint64).tobytes()
        return rows
