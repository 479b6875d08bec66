"""What a walk judged in a replay, event by event."""

import numpy as np

from state.arrays import F64, U64, Mask
from state.model import Model
from stream.drift.frozen import no_comparison
from stream.evaluation.ranking import first_calibrations
from stream.events import Learnable, Origins
from stream.walk.values import Walked


class Judged:
    """The `Evaluator` of a step in a replay: ranks by the live score, and the ratings it predicted last.

    The events at `positions` uint64 [n] are judged. In their order: `warm` bool [n], `ranks` float32 [n],
    infinite for a miss and for what is never walked over, and log `losses` float32 [n], then NaN.
    """

    cold = True

    def __init__(self, positions: U64) -> None:
        self.calibrations = first_calibrations(1)
        self.comparison = no_comparison()
        self.warm = np.zeros(len(positions), np.bool_)
        self.ranks = np.full(len(positions), np.inf, np.float32)
        self.losses = np.full(len(positions), np.nan, np.float32)
        self._order = np.argsort(positions)
        self._sorted = positions[self._order]
        self._places = np.zeros(0, np.int64)
        self._predicted: tuple[F64, Learnable] | None = None

    def sample(self, model: Model, events: Learnable, origins: Origins) -> Mask:
        """Which events are to be ranked, if they are likes: bool [n]."""
        places = np.searchsorted(self._sorted, events.positions)
        chosen = places < len(self._sorted)
        chosen[chosen] = self._sorted[places[chosen]] == events.positions[chosen]
        self._places = np.full(len(places), -1, np.int64)
        self._places[chosen] = self._order[places[chosen]]
        return chosen

    def record(
        self, walked: Walked, events: Learnable, origins: Origins, learnt: Learnable, predictions: F64
    ) -> None:
        """Take over what was ranked; keep the predictions, if there are any."""
        ranked = np.flatnonzero(~np.isnan(walked.ranks[:, 0]))
        places = self._places[ranked]
        self.warm[places] = walked.warm[ranked]
        self.ranks[places], self.losses[places] = walked.ranks[ranked, 0], walked.losses[ranked, 0]
        if len(predictions):
            self._predicted = predictions, learnt

    def take_predicted(self) -> tuple[F64, Learnable] | None:
        """Predictions of the last step and the events they are of, once."""
        predicted, self._predicted = self._predicted, None
        return predicted
