"""How the models did over time: means of windows that slide over the evidence."""

import numpy as np

from state.arrays import F64
from state.evidence import KEPT, Comparisons, Evidence
from stream.drift.windows import WINDOW_EVENTS, by_user
from stream.walk.values import BASELINE, LIVE

STEP_EVENTS = 50
"""A window ends at every multiple of this."""

SHRINKAGE = 10.0
"""Events of a user in a window at which the user weighs half as much as one who is known perfectly.

Ratio of the variance of losses of one user to that between users, as in a random-effects model (DerSimonian
and Laird 1986): 4 to 7 on clicks, ratings and purchases, and 20 does about as well.
"""

SKILL, OF_LIVE, OF_BASELINE = range(3)
"""Columns: log loss of live less that of the baseline, of live, and of the baseline."""

COLUMNS = 3


class Series:
    """Means of each window that ends at a multiple of `STEP_EVENTS`, computed once, when they are needed.

    Nothing of it is stored: it follows from the evidence.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._means = np.zeros((KEPT // STEP_EVENTS + 1, COLUMNS))
        self._ends = np.full(len(self._means), -1, np.int64)

    def mean(self, end: int) -> F64:
        """Of the window that ends with the record of this number: float64 [3]."""
        place = end // STEP_EVENTS % len(self._ends)
        if self._ends[place] != end:
            self._means[place] = _means(self._evidence.between(end - WINDOW_EVENTS, end))
            self._ends[place] = end
        mean: F64 = self._means[place]
        return mean

    def within(self, after: int, through: int) -> F64:
        """Of all windows of records that are kept, with numbers in (after, through]: float64 [windows, 3]."""
        after = max(after, self._evidence.added - KEPT)
        first = -(-(after + WINDOW_EVENTS) // STEP_EVENTS) * STEP_EVENTS
        return np.array([self.mean(end) for end in range(first, through + 1, STEP_EVENTS)]).reshape(
            -1, COLUMNS
        )


def _means(records: Comparisons) -> F64:
    """Means over users, each weighed by how well their own mean is known."""
    losses = records["losses"].astype(np.float64)
    live, baseline = losses[:, LIVE], losses[:, BASELINE]
    means, counts = by_user(
        records["user"].astype(np.int64), np.column_stack([live - baseline, live, baseline])
    )
    return np.average(means, axis=0, weights=counts / (counts + SHRINKAGE))
