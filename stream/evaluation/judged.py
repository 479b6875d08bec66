"""What a walk judged in a replay, event by event."""

import numpy as np

from state.arrays import F64, Mask
from state.model import Model
from stream.evaluation.ranking import first_calibrations
from stream.events import Learnable
from stream.sampling import sampled
from stream.walk.values import Walked


class Judged:
    """The `Evaluator` of a step in a replay: its ranks of `count` events, and the ratings it predicted last.

    One in `sample_every` events is judged, by the live score alone; none if `count` is 0. Of the first `size`
    that were: `warm` bool, `ranks` float32 (infinite for a miss) and log `losses` float32 (NaN for a miss).
    """

    cold = True

    def __init__(self, count: int, sample_every: int, seed: int) -> None:
        self._sample_every, self._seed = sample_every, seed
        self.calibrations = first_calibrations(1)
        self.size, self.warm = 0, np.zeros(count, np.bool_)
        self.ranks, self.losses = np.empty((2, count), np.float32)
        self._predicted: tuple[F64, Learnable] | None = None

    def sample(self, model: Model, events: Learnable) -> Mask:
        """Which events are to be ranked, if they are likes: a sample, bool [n]."""
        if not len(self.ranks):
            return np.zeros(len(events.users), np.bool_)
        chosen: Mask = sampled(events.positions, self._sample_every, self._seed)
        return chosen

    def record(self, walked: Walked, predictions: F64, learnt: Learnable) -> None:
        """Add what was ranked; keep the predictions, if there are any."""
        ranked = np.flatnonzero(~np.isnan(walked.ranks[:, 0]))
        place = slice(self.size, self.size + len(ranked))
        self.warm[place] = walked.warm[ranked]
        self.ranks[place], self.losses[place] = walked.ranks[ranked, 0], walked.losses[ranked, 0]
        self.size += len(ranked)
        if len(predictions):
            self._predicted = predictions, learnt

    def take_predicted(self) -> tuple[F64, Learnable] | None:
        """Predictions of the last step and the events they are of, once."""
        predicted, self._predicted = self._predicted, None
        return predicted
