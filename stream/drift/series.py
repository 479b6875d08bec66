"""How things were over time: measures of windows that slide over a ring of records."""

from collections.abc import Callable

import numpy as np

from state.arrays import F64
from state.ring import KEPT, Entries, Ring
from stream.drift.loss import Loss
from stream.drift.windows import WINDOW_EVENTS, by_user
from stream.walk.values import BASELINE, LIVE

STEP_EVENTS = 50
"""A window ends at every multiple of this."""

USERS_MIN = 4
"""Users in a window below which it is them that differ."""

MEASURES = 4
SKILL, OF_LIVE, OF_BASELINE, WEIGHT = range(MEASURES)
"""Columns of `measured`: mean loss of live beside that of the baseline, of live, and of the baseline; and how
well they are known, as the inverse of a variance."""

TOP_SHARE, REPEATED = range(2)
"""Columns of `concentration`: share of the most frequent, and of those of its events that are repeats."""


class Series:
    """Measures of each window that ends at a multiple of `STEP_EVENTS`, computed once, when they are needed.

    Nothing of it is stored: it follows from the ring.
    """

    def __init__(self, ring: Ring, measure: Callable[[Entries], F64], columns: int) -> None:
        """`measure` makes float64 [columns] of the records of a window."""
        self._ring, self._measure = ring, measure
        self._values = np.zeros((KEPT // STEP_EVENTS + 1, columns))
        self._ends = np.full(len(self._values), -1, np.int64)

    def at(self, end: int) -> F64:
        """Of the window that ends with the record of this number: float64 [columns]."""
        found: F64 = self.within(end - WINDOW_EVENTS, end)[0]
        return found

    def within(self, after: int, through: int) -> F64:
        """Of all windows of records that are kept, with numbers in (after, through]: [windows, columns]."""
        after = max(after, self._ring.added - KEPT)
        first = -(-(after + WINDOW_EVENTS) // STEP_EVENTS) * STEP_EVENTS
        ends = np.arange(first, through + 1, STEP_EVENTS)
        places = ends // STEP_EVENTS % len(self._ends)
        for end in ends[self._ends[places] != ends].tolist():
            place = end // STEP_EVENTS % len(self._ends)
            self._values[place] = self._measure(self._ring.between(end - WINDOW_EVENTS, end))
            self._ends[place] = end
        return self._values[places]


def measured(loss: Loss, records: Entries) -> F64:
    """Of means over users, each weighed by how well their own mean is known: float64 [4].

    NaN where there are too few users.
    """
    losses = records["losses"][:, [LIVE, BASELINE]].astype(np.float64)
    means, counts = by_user(records["user"].astype(np.int64), losses)
    if len(means) < USERS_MIN:
        return np.full(MEASURES, np.nan)
    weights = counts / (counts + loss.shrinkage)
    live, baseline = np.average(means, axis=0, weights=weights).tolist()
    weight = weights[:, 0].sum()
    return np.array([loss.beside(live, baseline), loss.level(live), loss.level(baseline), weight])


def concentration(of: str, records: Entries) -> F64:
    """How much of a window is one item or one user, and how much of it repeats: float64 [2]."""
    _, events = top_of(records, of)
    return np.array([len(events), events["repeated"].sum()]) / len(records)


def top_of(records: Entries, of: str) -> tuple[int, Entries]:
    """The most frequent "item" or "user", as its ordinal, and its records."""
    values, counts = np.unique(records[of], return_counts=True)
    most = values[counts.argmax()]
    return int(most), records[records[of] == most]
