"""Whether one item takes so much of the events that it cannot be people's choice."""

from collections.abc import Callable
from functools import partial

from state.arrays import F64
from state.evidence import Inputs
from stream.config import DriftConfig
from stream.drift.alarm import Alarm
from stream.drift.decision import Verdict, decide_inputs
from stream.drift.loss_alarm import LossAlarm
from stream.drift.series import REPEATED, TOP_SHARE, Series, concentration, top_item
from stream.drift.windows import WINDOW_EVENTS

TOP_SHARE_MIN = 0.1
"""Share of a window that one item may have."""


class InputAlarm(Alarm):
    """Whether one item takes so much of the events that it cannot be people's choice.

    Items become popular at once by themselves, up to two thirds of a window. So it takes a second sign: users
    get what they had already, or the model loses its lead, of which `losses` know.
    """

    def __init__(self, inputs: Inputs, losses: LossAlarm, config: DriftConfig) -> None:
        super().__init__(inputs, Series(inputs, concentration, 2), config)
        self._losses = losses

    def _judge(self, end: int, reference: F64) -> Callable[[float], Verdict | None]:
        enough = self._series.at(end)[TOP_SHARE] >= TOP_SHARE_MIN
        share = self._p_value(end, reference, TOP_SHARE, 0.0) if enough else 1.0
        repeated = self._p_value(end, reference, REPEATED, 0.0)
        return partial(decide_inputs, share, repeated, self._losses.latest)

    def _change_point(self, end: int, reference: F64) -> int:
        """Before the first event of the window with the item."""
        records = self._ring.between(end - WINDOW_EVENTS, end)
        item, _ = top_item(records)
        return int(records["number"][records["item"] == item][0]) - 1
