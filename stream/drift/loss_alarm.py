"""Whether the losses of the models say that something is wrong."""

from collections.abc import Callable
from functools import partial
from math import sqrt

import numpy as np

from state.arrays import F64
from state.evidence import Evidence
from state.ring import Entries
from stream.config import DriftConfig
from stream.drift.alarm import Alarm
from stream.drift.decision import Observed, Verdict, decide
from stream.drift.loss import Loss
from stream.drift.series import MEASURES, OF_BASELINE, OF_LIVE, SKILL, STEP_EVENTS, WEIGHT, Series, measured
from stream.drift.shift_alarm import ShiftAlarm
from stream.drift.significance import block_test, paired_test
from stream.drift.windows import WINDOW_EVENTS
from stream.walk.values import BASELINE, FROZEN, LIVE

EFFECT_MIN = 0.1
"""By how much a mean loss must be worse, however sure that is: nats, or a part."""


class LossAlarm(Alarm):
    """Whether the model or the world got worse, by one `loss`. `latest` is of its lead over the baseline.

    `popularity` knows whether events are about other items than before.
    """

    def __init__(self, evidence: Evidence, loss: Loss, popularity: ShiftAlarm, config: DriftConfig) -> None:
        super().__init__(evidence, Series(evidence, partial(measured, loss), MEASURES), config)
        self.loss, self._popularity = loss, popularity

    def _judge(self, end: int, reference: F64) -> Callable[[float], Verdict | None] | None:
        now, before = self._series.at(end), _known(reference)
        if np.isnan(now[SKILL]):
            self.latest = 1.0
            return None
        means = np.average(before, axis=0, weights=before[:, WEIGHT]) if len(before) else now
        skill, live, baseline = (
            _worse(now, before, means, column) for column in (SKILL, OF_LIVE, OF_BASELINE)
        )
        self.latest, risen = skill, float(now[OF_BASELINE] - means[OF_BASELINE])
        observed = Observed(skill, live, baseline, risen, self._harm(end), self._popularity.latest)
        return partial(decide, observed)

    def _harm(self, end: int) -> float:
        """The larger of the p-values of this window and the one before it, so that it must last."""
        middle = end - WINDOW_EVENTS
        return max(
            self._above_frozen(self._ring.between(middle, end)),
            self._above_frozen(self._ring.between(middle - WINDOW_EVENTS, middle)),
        )

    def _change_point(self, end: int, reference: F64) -> int:
        """Where the cumulative sum of skill turns (Page 1954)."""
        records = self._ring.between(end - 2 * WINDOW_EVENTS, end)
        losses = records["losses"].astype(np.float64)
        excess = self.loss.excess(losses[:, LIVE], losses[:, BASELINE], _known(reference)[:, SKILL].mean())
        return int(records["number"][np.argmin(np.cumsum(excess))])

    def _above_frozen(self, records: Entries) -> float:
        losses = records["losses"].astype(np.float64)
        means = losses.mean(axis=0)
        if not self.loss.beside(means[LIVE], means[FROZEN]) >= EFFECT_MIN:
            return 1.0
        return paired_test(records["user"].astype(np.int64), losses[:, LIVE] - losses[:, FROZEN])


def _known(measures: F64) -> F64:
    """Those of windows of enough users."""
    found: F64 = measures[~np.isnan(measures[:, SKILL])]
    return found


def _worse(now: F64, before: F64, means: F64, column: int) -> float:
    """p-value of one measure of a window beside those before; 1 if it is not much above, or nobody knows.

    A deviation from the `means` counts the more, the more is known of its window: by the root of the weight.
    """
    above = float(now[column] - means[column])
    if above < EFFECT_MIN:
        return 1.0
    deviations = np.sqrt(before[:, WEIGHT]) * (before[:, column] - means[column])
    found = block_test(deviations, sqrt(now[WEIGHT]) * above, WINDOW_EVENTS // STEP_EVENTS)
    return 1.0 if np.isnan(found) else found
