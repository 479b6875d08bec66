"""Whether the losses of the models say that something is wrong."""

from collections.abc import Callable
from functools import partial

import numpy as np

from state.arrays import F64
from state.evidence import Evidence
from state.ring import Entries
from stream.config import DriftConfig
from stream.drift.alarm import Alarm
from stream.drift.decision import Observed, Verdict, decide
from stream.drift.series import OF_BASELINE, OF_LIVE, SKILL, Series, mean_losses
from stream.drift.shift_alarm import ShiftAlarm
from stream.drift.significance import paired_test
from stream.drift.windows import WINDOW_EVENTS
from stream.walk.values import BASELINE, FROZEN, LIVE

EFFECT_MIN = 0.1
"""Nats by which a log loss must be worse, however sure that is."""


class LossAlarm(Alarm):
    """Whether the model or the world got worse. `latest` is of its lead over the baseline.

    `popularity` knows whether events are about other items than before.
    """

    def __init__(self, evidence: Evidence, popularity: ShiftAlarm, config: DriftConfig) -> None:
        super().__init__(evidence, Series(evidence, mean_losses, 3), config)
        self._popularity = popularity

    def _judge(self, end: int, reference: F64) -> Callable[[float], Verdict | None]:
        skill, live, baseline = (
            self._p_value(end, reference, column, EFFECT_MIN) for column in (SKILL, OF_LIVE, OF_BASELINE)
        )
        self.latest = skill
        return partial(decide, Observed(skill, live, baseline, self._harm(end), self._popularity.latest))

    def _harm(self, end: int) -> float:
        """The larger of the p-values of this window and the one before it, so that it must last."""
        middle = end - WINDOW_EVENTS
        return max(
            _above_frozen(self._ring.between(middle, end)),
            _above_frozen(self._ring.between(middle - WINDOW_EVENTS, middle)),
        )

    def _change_point(self, end: int, reference: F64) -> int:
        """Where the cumulative sum of skill turns (Page 1954)."""
        records = self._ring.between(end - 2 * WINDOW_EVENTS, end)
        losses = records["losses"].astype(np.float64)
        sums = np.cumsum(losses[:, LIVE] - losses[:, BASELINE] - reference[:, SKILL].mean())
        return int(records["number"][np.argmin(sums)])


def _above_frozen(records: Entries) -> float:
    losses = records["losses"].astype(np.float64)
    differences = losses[:, LIVE] - losses[:, FROZEN]
    if np.nan_to_num(differences).sum() < EFFECT_MIN * len(records):
        return 1.0
    return paired_test(records["user"].astype(np.int64), differences)
