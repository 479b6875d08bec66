"""What several models thought of the latest events that were judged, and what the latest events were like.

Which events are judged by a frozen model depends on when it was loaded, so these rows are no part of the
digest.
"""

from typing import TypeVar

import numpy as np

from state.codec import EVIDENCE, INPUTS
from state.ring import Ring
from state.store import Reader, rows_of

OUTGROWN = 4_096
"""Records about one version after which it is time for another."""

EVENT = [
    ("number", "<i8"),
    ("user", "<u4"),
    ("item", "<u4"),
    ("partition", "<i4"),
    ("offset", "<i8"),
    ("time_ms", "<i8"),
]
"""Fields of any record: ordinals of user and item; where in the log; the time of the event."""

RECORD = np.dtype([*EVENT, ("version", "<i8"), ("losses", "<f4", (3,)), ("reciprocal_ranks", "<f4", (3,))])
"""Micro-batch of the frozen version, 0 for none. Of live, frozen (NaN without a version) and baseline: log
losses and reciprocal ranks of likes, or squared errors of ratings and NaN."""

INPUT = np.dtype(
    [
        *EVENT,
        ("repeated", "<u1"),
        ("value", "<f4"),
        ("weight", "<f4"),
        ("popularity", "<f4"),
        ("user_events", "<i4"),
        ("losses", "<f4", (3,)),
    ]
)
"""Whether the user had the item; the event's value, NaN for none, and its type's weight; how many times as
many events as the mean item the item had, and how many events the user had: 0 for one that is new; losses
as in `RECORD`, NaN where nothing was compared."""

_BEFORE_COUNTS = np.dtype([*EVENT, ("repeated", "<u1")]).itemsize
EARLIER_INPUTS = _BEFORE_COUNTS, INPUT.itemsize - np.dtype(("<f4", (3,))).itemsize
"""Bytes of a record before it had values and counts, and before it had losses."""


class Evidence(Ring):
    """Events that were compared, as `RECORD`."""

    def __init__(self) -> None:
        super().__init__(EVIDENCE, RECORD, "compared losses")

    def has_outgrown(self, version: int) -> bool:
        """Whether the latest records, `OUTGROWN` of them, all have this version."""
        latest = self.between(self.added - OUTGROWN, self.added)
        return len(latest) == OUTGROWN and bool((latest["version"] == version).all())


class Inputs(Ring):
    """Events that were sampled, whether they could be compared or not, as `INPUT`."""

    def __init__(self) -> None:
        super().__init__(INPUTS, INPUT, "sampled events", EARLIER_INPUTS)


def stored_evidence(reader: Reader) -> Evidence:
    """The events compared, as a view of a store has them."""
    return _filled(Evidence(), reader)


def stored_inputs(reader: Reader) -> Inputs:
    """The sampled events, as a view of a store has them."""
    return _filled(Inputs(), reader)


R = TypeVar("R", bound=Ring)


def _filled(ring: R, reader: Reader) -> R:
    for rows in rows_of(reader, ring.code):
        ring.apply(rows)
    return ring
