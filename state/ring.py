"""The latest of what happens, as rows: a ring of records of which a micro-batch journals those it added."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from state.arrays import I64
from state.errors import StoreCorruptError
from state.store import Rows

KEPT = 16_384
"""Records in a ring."""

Entries = npt.NDArray[np.void]
"""Records; one field is `number`, which counts from 1."""


class Ring:
    """The latest `KEPT` records of one kind of row. Implements `state.kinds.Part`."""

    def __init__(
        self, code: int, record: np.dtype[np.void], what: str, earlier_sizes: Sequence[int] = ()
    ) -> None:
        """`record` is what one is made of, `what` is what people call them.

        `earlier_sizes`: bytes of records of earlier programs, which are let go.
        """
        self.code, self._record, self._what = code, record, what
        self._earlier_sizes = earlier_sizes
        self._ring = np.zeros(KEPT, record)
        self.added = 0
        self._journalled = self._flushed = 0

    def add(self, records: Entries) -> None:
        """Append records [n], which get their numbers; the oldest make room."""
        numbers = self.added + 1 + np.arange(len(records))
        self._ring[numbers[-KEPT:] % KEPT] = records[-KEPT:]
        self._ring["number"][numbers[-KEPT:] % KEPT] = numbers[-KEPT:]
        self.added += len(records)

    def latest(self) -> Entries:
        """All that are kept, oldest first."""
        return self.between(0, self.added)

    def between(self, after: int, through: int) -> Entries:
        """Those kept of the records with numbers in (after, through], oldest first."""
        # Far quicker than an index, by which records are copied field by field.
        return self._ring.take(self._numbers(after, through) % KEPT)

    def take_changed(self) -> Rows:
        """Records added since the last call."""
        numbers, self._journalled = self._numbers(self._journalled, self.added), self.added
        return self._pack(numbers)

    def changed_since(self, batch_seq: int) -> Rows:
        """Records added since the last call, as flushes follow each other; after micro-batch 0 all of them.

        All of them the first time too: what a store has is not known once it has been opened anew.
        """
        if not batch_seq:
            return self._pack(self._numbers(0, self.added))
        numbers, self._flushed = self._numbers(self._flushed, self.added), self.added
        return self._pack(numbers)

    def changed_count(self, batch_seq: int) -> int:
        """None that a flush could put off."""
        return 0

    def apply(self, rows: Rows) -> None:
        """Take over stored records."""
        sizes = np.diff(rows.bounds)
        current = sizes == self._record.itemsize
        if not np.isin(sizes[~current], self._earlier_sizes).all() or (rows.ordinals >= KEPT).any():
            raise StoreCorruptError(
                f"{len(rows)} records of {self._what} have {len(rows.data)} bytes, not "
                f"{self._record.itemsize} each: the store is damaged or newer than the program; "
                "restore a checkpoint or use the version that wrote it"
            )
        records = rows.data[np.repeat(current, sizes)].view(self._record)
        # Not where the row is: an earlier program may have kept fewer.
        self._ring[records["number"] % KEPT] = records
        self.added = self._journalled = int(self._ring["number"].max())

    def _numbers(self, after: int, through: int) -> I64:
        """Of the records kept with a number in (after, through], ascending."""
        numbers = np.arange(max(after, self.added - KEPT) + 1, through + 1)
        kept: I64 = numbers[self._ring["number"][numbers % KEPT] == numbers]
        return kept

    def _pack(self, numbers: I64) -> Rows:
        ordinals = np.sort(numbers % KEPT)
        bounds = self._record.itemsize * np.arange(len(ordinals) + 1)
        return Rows(self.code, ordinals, bounds, self._ring.take(ordinals).view(np.uint8))
