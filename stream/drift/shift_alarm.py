"""Whether events are unlike those before, in one respect."""

from collections.abc import Callable
from functools import partial

import numpy as np

from state.arrays import F64
from state.evidence import Inputs
from stream.config import DriftConfig
from stream.drift.alarm import CLEARED, Alarm
from stream.drift.decision import Verdict, decide_shift
from stream.drift.histograms import QUANTITIES, distances, smoothed_shares, stability_index
from stream.drift.series import STEP_EVENTS, Series
from stream.drift.significance import block_test
from stream.drift.windows import WINDOW_EVENTS

INDEX_MIN, INDEX_CLEARED = 0.25, 0.1
"""Population stability indices at which a shift matters, and no longer does (Siddiqi 2006)."""

USERS_MIN = 8
"""Users in a window below which it is them that differ."""


class ShiftAlarm(Alarm):
    """Whether one quantity is distributed as never before. `latest` is of that.

    The distance of a window to the mean of those before it is compared with their own distances to it, so
    that what a stream does by itself counts as chance.
    """

    def __init__(self, inputs: Inputs, name: str, config: DriftConfig) -> None:
        """`name` is one of `QUANTITIES`."""
        self.quantity = QUANTITIES[name]
        super().__init__(inputs, Series(inputs, self.quantity.histogram, self.quantity.bins), config)

    def _judge(self, end: int, reference: F64) -> Callable[[float], Verdict | None] | None:
        now = self._shift(end, reference)
        self.latest = 1.0 if np.isnan(now) else now
        # Where this window is like those before, nothing depends on the one before it.
        earlier = now if now >= CLEARED else self._shift(end - WINDOW_EVENTS, reference)
        return None if np.isnan(now + earlier) else partial(decide_shift, now, earlier)

    def _shift(self, end: int, reference: F64) -> float:
        """p-value of the window that ends there: 1 if it matters little, NaN if nobody knows."""
        users = np.unique(self._ring.between(end - WINDOW_EVENTS, end)["user"])
        if not len(reference) or (self.quantity.by_user and len(users) < USERS_MIN):
            return np.nan
        mean, now = reference.mean(axis=0), self._series.at(end)
        if stability_index(mean, now) < (INDEX_CLEARED if self.standing else INDEX_MIN):
            return 1.0
        before, current = distances(mean, reference), distances(mean, now[None])
        return block_test(before, float(current[0]), WINDOW_EVENTS // STEP_EVENTS)

    def _change_point(self, end: int, reference: F64) -> int:
        """Where the cumulative sum of log likelihood ratios of now to before turns (Page 1954)."""
        records = self._ring.between(end - 2 * WINDOW_EVENTS, end)
        before, now = smoothed_shares(reference.mean(axis=0), self._series.at(end))
        ratios = np.divide(now, before, out=np.ones_like(now), where=before > 0)
        sums = np.cumsum(np.log(ratios)[self.quantity.binned(records)])
        return int(records["number"][np.argmin(sums)])
