"""Whether one item or one user takes so much of the events that it cannot be people's choice."""

from collections.abc import Callable
from functools import partial

import numpy as np

from state.arrays import F64
from state.evidence import Inputs
from state.ring import Entries
from stream.config import DriftConfig
from stream.drift.alarm import Alarm
from stream.drift.decision import SECOND_SIGN, Taken, Verdict, decide_concentration
from stream.drift.loss import LOG_LOSS
from stream.drift.loss_alarm import EFFECT_MIN, LossAlarm
from stream.drift.series import REPEATED, STEP_EVENTS, TOP_SHARE, Series, concentration, top_of
from stream.drift.significance import block_test, paired_test
from stream.drift.windows import WINDOW_EVENTS
from stream.walk.values import BASELINE, LIVE

TOP_SHARE_MIN = 0.1
"""Share of a window that one item or user may have."""

REPEATED_MIN = 0.02
"""By how much the share of repeats must rise, however sure that is."""

JUDGED_MIN = 20
"""Users of an item, or events of a user, from which it is told whether the model knows them."""


class ConcentrationAlarm(Alarm):
    """Whether one item, or one user, takes so much of the events that it cannot be people's choice.

    Items become popular at once by themselves, up to two thirds of a window, and a user may be alone in one.
    So it takes a second sign: users get what they had already, or the model cannot tell who takes the item or
    what the user takes; of an item also that the model loses its lead, of which `losses` know. Squared errors
    do not say who takes what: of ratings only repeats count.
    """

    def __init__(self, inputs: Inputs, of: str, losses: LossAlarm, config: DriftConfig) -> None:
        """`of` is "item" or "user"."""
        super().__init__(inputs, Series(inputs, partial(concentration, of), 2), config)
        self._of, self._losses = of, losses

    def _judge(self, end: int, reference: F64) -> Callable[[float], Verdict | None]:
        enough = self._series.at(end)[TOP_SHARE] >= TOP_SHARE_MIN
        share = self._p_value(end, reference, TOP_SHARE, 0.0) if enough else 1.0
        if not share < SECOND_SIGN:
            return lambda limit: None
        repeated = self._p_value(end, reference, REPEATED, REPEATED_MIN)
        records = self._ring.between(end - WINDOW_EVENTS, end)
        blind = skill = 1.0
        if self._losses.loss is LOG_LOSS and self._of == "item":
            blind, skill = _by_anybody(records), self._losses.latest
        elif self._losses.loss is LOG_LOSS:
            blind = _at_random(records)
        return partial(decide_concentration, self._of, Taken(share, repeated, blind, skill))

    def _change_point(self, end: int, reference: F64) -> int:
        """Before the first event of the window with the item or of the user."""
        records = self._ring.between(end - WINDOW_EVENTS, end)
        _, events = top_of(records, self._of)
        return int(events["number"][0]) - 1

    def _p_value(self, end: int, reference: F64, column: int, effect_min: float) -> float:
        """Of the block test of one measure; 1 where it is not so far above the reference, or nobody knows."""
        current, before = self._series.at(end)[column], reference[:, column]
        found = block_test(before, current, WINDOW_EVENTS // STEP_EVENTS)
        return 1.0 if np.isnan(found) or current - before.mean() < effect_min else found


def _by_anybody(records: Entries) -> float:
    """How likely the model knows less of who takes the most frequent item than its share says, by chance."""
    _, taken = top_of(records, "item")
    above_share = taken["losses"][:, LIVE].astype(np.float64) + np.log(len(taken) / len(records))
    return paired_test(taken["user"].astype(np.int64), above_share - EFFECT_MIN, JUDGED_MIN)


def _at_random(records: Entries) -> float:
    """How likely the model knows less of what the busiest user takes than the baseline, by chance."""
    _, taken = top_of(records, "user")
    losses = taken["losses"].astype(np.float64)
    return paired_test(np.arange(len(taken)), losses[:, LIVE] - losses[:, BASELINE], JUDGED_MIN)
