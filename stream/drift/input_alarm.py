"""Whether one item takes so much of the events that it cannot be people's choice."""

from collections.abc import Callable
from functools import partial

import numpy as np

from state.arrays import F64
from state.evidence import Inputs
from state.ring import Entries
from stream.config import DriftConfig
from stream.drift.alarm import Alarm
from stream.drift.decision import Taken, Verdict, decide_inputs
from stream.drift.loss_alarm import EFFECT_MIN, LossAlarm
from stream.drift.series import REPEATED, TOP_SHARE, Series, concentration, top_item
from stream.drift.significance import paired_test
from stream.drift.windows import WINDOW_EVENTS

TOP_SHARE_MIN = 0.1
"""Share of a window that one item may have."""

REPEATED_MIN = 0.02
"""By how much the share of events whose user had the item must rise, however sure that is."""

USERS_MIN = 20
"""Users from whom it is told whether the model knows who takes an item."""


class InputAlarm(Alarm):
    """Whether one item takes so much of the events that it cannot be people's choice.

    Items become popular at once by themselves, up to two thirds of a window. So it takes a second sign: users
    get what they had already, or the model cannot tell who takes it or loses its lead; `losses` know of that.
    """

    def __init__(self, inputs: Inputs, losses: LossAlarm, config: DriftConfig) -> None:
        super().__init__(inputs, Series(inputs, concentration, 2), config)
        self._losses = losses

    def _judge(self, end: int, reference: F64) -> Callable[[float], Verdict | None]:
        enough = self._series.at(end)[TOP_SHARE] >= TOP_SHARE_MIN
        share = self._p_value(end, reference, TOP_SHARE, 0.0) if enough else 1.0
        repeated = self._p_value(end, reference, REPEATED, REPEATED_MIN)
        by_anybody = _by_anybody(self._ring.between(end - WINDOW_EVENTS, end))
        return partial(decide_inputs, Taken(share, repeated, by_anybody, self._losses.latest))

    def _change_point(self, end: int, reference: F64) -> int:
        """Before the first event of the window with the item."""
        records = self._ring.between(end - WINDOW_EVENTS, end)
        item, _ = top_item(records)
        return int(records["number"][records["item"] == item][0]) - 1


def _by_anybody(records: Entries) -> float:
    """How likely the model knows less of who takes the most frequent item than its share says, by chance."""
    item, count = top_item(records)
    taken = records[records["item"] == item]
    above_share = taken["loss"].astype(np.float64) + np.log(count / len(records))
    return paired_test(taken["user"].astype(np.int64), above_share - EFFECT_MIN, USERS_MIN)
