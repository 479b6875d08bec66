"""Test-then-learn evaluation in the service: a sample of events is judged before it is learnt.

An event is eligible if it is a positive, its user and its item have been learnt from before, and the item
is not in the user's history ("warm"). Candidates are all items learnt so far minus that history; where
repeats count, the history stays. Ties get the middle rank. Side by side on the same events: `MODELS` of
`stream.walk`, which ranks them; neighbours only where the blend has counted some.

For explicit ratings the error of every prediction made just before learning it is summed as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import orjson

from state.arrays import F64, I64, Mask
from state.model import Model
from stream.config import LearningConfig, PrequentialConfig
from stream.evaluation.ranking import METRICS, event_metrics, first_calibrations
from stream.evaluation.rating import Errors
from stream.events import Learnable
from stream.sampling import sampled
from stream.walk.values import MODELS, Walked

WINDOWS_KEPT = 60
"""Completed windows that are remembered."""

LOSS_WORK = 24
"""What the log loss costs for each item, in multiply-adds: mostly an exponential (5.4 ns)."""

FORMAT = 2
"""Of packed measurements."""


@dataclass
class Window:
    """What was measured on one stretch of the stream; `through` is the clock at its end.

    `ranking`: for each model and metric the sum over `scored` events; `ratings`: the live model's errors.
    """

    scored: int = 0
    through: int = 0
    ranking: dict[str, dict[str, float]] = field(default_factory=dict)
    ratings: Errors = field(default_factory=Errors)

    @classmethod
    def begin(cls, models: Sequence[str]) -> "Window":
        """One in which nothing has been measured."""
        return cls(ranking={name: dict.fromkeys(METRICS, 0.0) for name in models})

    def means(self) -> dict[str, Any]:
        """Each model's metrics, with how many events were ranked, and the errors of how many ratings."""
        ranked = {
            name: {metric: total / self.scored for metric, total in totals.items()}
            for name, totals in self.ranking.items()
            if self.scored
        }
        errors = {"rated": self.ratings.rated, "rmse": self.ratings.rmse, "mae": self.ratings.mae}
        return {"scored": self.scored, **ranked, **(errors if self.ratings.rated else {})}

    @classmethod
    def restore(cls, facts: Mapping[str, Any]) -> "Window":
        """Inverse of `asdict`."""
        return cls(**{**facts, "ratings": Errors(**facts["ratings"])})


def earlier_ratings_seen(packed: bytes) -> list[float] | None:
    """The range of ratings that programs kept among the measurements before it was a part of the model."""
    found: list[float] | None = orjson.loads(packed).get("ratings_seen")
    return found


class Prequential:
    """Running measurements; part of the state, so they are neither lost nor repeated by a crash."""

    def __init__(self, config: PrequentialConfig, learning: LearningConfig, *, blends: bool) -> None:
        """`blends`: items are ranked by the blend."""
        self._config, self._learning = config, learning
        self._models = MODELS if blends else MODELS[:-1]
        self.calibrations = first_calibrations(len(self._models))
        self.total = Window.begin(self._models)
        self.window = Window.begin(self._models)
        self.completed: list[Window] = []
        self._changed = False

    def sample(self, model: Model, events: Learnable) -> Mask:
        """Which events are to be ranked, if they are likes of warm users and items: a sample, bool [n]."""
        period = self.period(model.item_count, model.rank)
        chosen: Mask = sampled(events.positions, period, self._learning.seed)
        return chosen

    def record(self, walked: Walked, predictions: F64, learnt: Learnable) -> None:
        """Add what was ranked, and the errors of ratings predicted float64 [m] before they were learnt."""
        ranked = np.flatnonzero(~np.isnan(walked.ranks[:, 0]))
        if len(ranked):
            self._rank(walked.ranks[ranked], walked.losses[ranked], walked.clocks[ranked])
        if len(predictions):
            self._rate(predictions, learnt)

    def take_changed(self) -> bool:
        """Whether anything was measured since the last call."""
        changed, self._changed = self._changed, False
        return changed

    def latest(self) -> dict[str, Any]:
        """Means (see `Window.means`) of the last window that is complete, or of the first so far, and `k`."""
        return {"k": self._config.k, **[*self.completed[-1:], self.window][0].means()}

    def pack(self) -> bytes:
        """The measurements as JSON."""
        state = {
            "format": FORMAT,
            "k": self._config.k,
            "calibrations": self.calibrations.tolist(),
            "total": asdict(self.total),
            "window": asdict(self.window),
            "completed": [asdict(window) for window in self.completed],
        }
        return orjson.dumps(state)

    def restore(self, packed: bytes) -> None:
        """Inverse of `pack`; measurements in another format, or of other models, begin anew."""
        state = orjson.loads(packed)
        if state.get("format") != FORMAT or set(state["total"]["ranking"]) != set(self._models):
            return
        self.calibrations[:] = np.array(state["calibrations"], np.float64)
        self.total, self.window = Window.restore(state["total"]), Window.restore(state["window"])
        self.completed = [Window.restore(window) for window in state["completed"]]

    def period(self, items: int, rank: int) -> int:
        """One in so many events is scored: fewer for large catalogues, to keep within `work_max`."""
        return max(self._config.sample_every, -(-items * (rank + LOSS_WORK) // self._config.work_max))

    def _rank(self, ranks: F64, losses: F64, clocks: I64) -> None:
        """Add ranked events: ranks and losses float64 [m, models], clocks int64 [m]; windows fill up."""
        self._changed = True
        values = {
            name: event_metrics(ranks[:, row], losses[:, row], self._config.k)
            for row, name in enumerate(self._models)
        }
        begin = 0
        while begin < len(clocks):
            room = self._config.window_events - self.window.scored
            end = min(begin + max(room, 1), len(clocks))
            for window in (self.total, self.window):
                window.scored += end - begin
                window.through = int(clocks[end - 1])
                for name, metrics in values.items():
                    for metric, each in metrics.items():
                        window.ranking[name][metric] += float(each[begin:end].sum())
            if self.window.scored >= self._config.window_events:
                self.completed = [*self.completed, self.window][-WINDOWS_KEPT:]
                self.window = Window.begin(self._models)
            begin = end

    def _rate(self, predictions: F64, learnt: Learnable) -> None:
        """Add the errors of ratings."""
        self._changed = True
        rated = ~learnt.remove
        errors = predictions[rated] - learnt.strengths[rated]
        for window in (self.total, self.window):
            window.ratings.add(errors)
