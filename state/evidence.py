"""What several models thought of the latest events that were judged, before they were learnt: a ring.

One record is one row, so that a micro-batch journals only those that it added. Which events are judged by a
frozen model depends on when it was loaded, so these rows are no part of the digest.
"""

import numpy as np
import numpy.typing as npt

from state.arrays import I64
from state.codec import EVIDENCE
from state.errors import StoreCorruptError
from state.store import Reader, Rows

KEPT = 16_384
"""Records in the ring."""

OUTGROWN = 4_096
"""Records about one version after which it is time for another."""

RECORD = np.dtype(
    [
        ("number", "<i8"),
        ("user", "<u4"),
        ("item", "<u4"),
        ("partition", "<i4"),
        ("offset", "<i8"),
        ("time_ms", "<i8"),
        ("version", "<i8"),
        ("losses", "<f4", (3,)),
        ("reciprocal_ranks", "<f4", (3,)),
    ]
)
"""`number` counts from 1; ordinals of user and item; where in the log; the time of the event; micro-batch of
the frozen version, 0 for none. Of live, frozen (NaN without a version) and baseline: log losses and
reciprocal ranks."""

Comparisons = npt.NDArray[np.void]


class Evidence:
    """The ring. Implements `state.kinds.Part`."""

    def __init__(self) -> None:
        self._ring = np.zeros(KEPT, RECORD)
        self.added = 0
        self._journalled = 0

    def add(self, records: Comparisons) -> None:
        """Append records [n], which get their numbers; the oldest make room."""
        numbers = self.added + 1 + np.arange(len(records))
        self._ring[numbers[-KEPT:] % KEPT] = records[-KEPT:]
        self._ring["number"][numbers[-KEPT:] % KEPT] = numbers[-KEPT:]
        self.added += len(records)

    def latest(self) -> Comparisons:
        """All that are kept, oldest first."""
        return self.between(0, self.added)

    def between(self, after: int, through: int) -> Comparisons:
        """Those kept of the records with numbers in (after, through], oldest first."""
        return self._ring[self._numbers(after, through) % KEPT]

    def has_outgrown(self, version: int) -> bool:
        """Whether the latest records, `OUTGROWN` of them, all have this version."""
        latest = self.between(self.added - OUTGROWN, self.added)
        return len(latest) == OUTGROWN and bool((latest["version"] == version).all())

    def take_changed(self) -> Rows:
        """Records added since the last call."""
        numbers, self._journalled = self._numbers(self._journalled, self.added), self.added
        return self._pack(numbers)

    def changed_since(self, batch_seq: int) -> Rows:
        """All of them: which have been flushed is not kept."""
        return self._pack(self._numbers(0, self.added))

    def changed_count(self, batch_seq: int) -> int:
        """None that a flush could put off."""
        return 0

    def apply(self, rows: Rows) -> None:
        """Take over stored records."""
        if len(rows.data) != RECORD.itemsize * len(rows) or (rows.ordinals >= KEPT).any():
            raise StoreCorruptError(
                f"{len(rows)} records of compared losses have {len(rows.data)} bytes, not "
                f"{RECORD.itemsize} each: the store is damaged or newer than the program; "
                "restore a checkpoint or use the version that wrote it"
            )
        records = rows.data.view(RECORD)
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
        bounds = RECORD.itemsize * np.arange(len(ordinals) + 1)
        return Rows(EVIDENCE, ordinals, bounds, self._ring[ordinals].view(np.uint8))


def stored_evidence(reader: Reader) -> Evidence:
    """The ring as a view of a store has it."""
    evidence = Evidence()
    for rows in reader.scan(EVIDENCE):
        evidence.apply(rows)
    for entry in reader.journal(reader.head().flushed_through):
        for rows in entry.rows:
            if rows.kind == EVIDENCE:
                evidence.apply(rows)
    return evidence
