"""Test-then-learn evaluation: a sample of events is ranked (`stream.learning.walk`) before it is learnt.

An event is eligible if it is a positive, its user and its item have been learnt from before, and the item
is not in the user's history ("warm"). Candidates are all items learnt so far minus that history; where
repeats count, the history stays. Ties get the middle rank. Side by side on the same events: the live model,
and decayed popularity.

For explicit ratings the error of every prediction made just before learning it is summed as well.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import orjson

from state.kernels import mix
from state.model import Model
from stream.config import LearningConfig, PrequentialConfig
from stream.events import I64, U64, Learnable
from stream.learning.walk import MODELS

WINDOWS_KEPT = 60
"""Completed windows that are remembered."""

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@numba.njit(cache=True)
def sampled(positions, period, seed):  # type: ignore[no-untyped-def]
    """Which positions (uint64 [n]) belong to the sample of one in `period`: a hash decides, bool [n]."""
    chosen = np.empty(len(positions), np.bool_)
    for i in range(len(positions)):
        chosen[i] = mix(positions[i] ^ np.uint64(seed)) % np.uint64(period) == 0
    return chosen


@dataclass
class Sums:
    """Sums of one model's metrics over some scored events."""

    hits: float = 0.0
    ndcg: float = 0.0
    mrr: float = 0.0

    def add(self, rank: float, k: int) -> None:
        """Count one scored event."""
        self.mrr += 1.0 / rank
        if rank <= k:
            self.hits += 1.0
            self.ndcg += 1.0 / float(np.log2(1.0 + rank))


@dataclass
class Window:
    """What was measured on one stretch of the stream. `through` is the clock at its end."""

    scored: int = 0
    through: int = 0
    ranking: dict[str, Sums] = field(default_factory=lambda: {name: Sums() for name in MODELS})
    rated: int = 0
    absolute_error: float = 0.0
    squared_error: float = 0.0

    @classmethod
    def restore(cls, facts: Mapping[str, Any]) -> "Window":
        """Inverse of `asdict`."""
        ranking = {name: Sums(**sums) for name, sums in facts["ranking"].items()}
        return cls(**{**facts, "ranking": ranking})


class Prequential:
    """Running measurements; part of the state, so they are neither lost nor repeated by a crash."""

    def __init__(self, config: PrequentialConfig, learning: LearningConfig) -> None:
        self._config, self._learning = config, learning
        self.total = Window()
        self.window = Window()
        self.completed: list[Window] = []
        self._changed = False

    def chosen(self, model: Model, events: Learnable) -> Mask:
        """Which events are to be ranked, if they are likes of warm users and items: a sample, bool [n]."""
        period = self.period(model.item_count, model.rank)
        chosen: Mask = sampled(events.positions, period, self._learning.seed)
        return chosen

    def rank(self, ranks: F64, clocks: I64) -> None:
        """Add the ranks float64 [n, 2] of `MODELS` that are not NaN, and the clock int64 [n] of each."""
        for event in np.flatnonzero(~np.isnan(ranks[:, 0])).tolist():
            self._add(dict(zip(MODELS, ranks[event].tolist(), strict=True)), int(clocks[event]))

    def rate(self, predictions: F64, events: Learnable) -> None:
        """Add the errors of ratings predicted before they were learnt."""
        error = (predictions - events.strengths)[~events.remove]
        self._changed = True
        for window in (self.total, self.window):
            window.rated += len(error)
            window.absolute_error += float(np.abs(error).sum())
            window.squared_error += float(np.square(error).sum())

    def take_changed(self) -> bool:
        """Whether anything was measured since the last call."""
        changed, self._changed = self._changed, False
        return changed

    def pack(self) -> bytes:
        """The measurements as JSON."""
        state = {
            "k": self._config.k,
            "total": asdict(self.total),
            "window": asdict(self.window),
            "completed": [asdict(window) for window in self.completed],
        }
        return orjson.dumps(state)

    def restore(self, packed: bytes) -> None:
        """Inverse of `pack`."""
        state = orjson.loads(packed)
        self.total, self.window = Window.restore(state["total"]), Window.restore(state["window"])
        self.completed = [Window.restore(window) for window in state["completed"]]

    def period(self, items: int, rank: int) -> int:
        """One in so many events is scored: fewer for large catalogues, to keep within `work_max`."""
        return max(self._config.sample_every, -(-items * rank // self._config.work_max))

    def _add(self, ranks: Mapping[str, float], clock: int) -> None:
        self._changed = True
        for window in (self.total, self.window):
            window.scored += 1
            window.through = clock
            for name, rank in ranks.items():
                window.ranking[name].add(rank, self._config.k)
        if self.window.scored >= self._config.window_events:
            self.completed = [*self.completed, self.window][-WINDOWS_KEPT:]
            self.window = Window()


def position_hashes(partitions: npt.NDArray[np.int32], offsets: I64, parts: npt.NDArray[np.int32]) -> U64:
    """A 64-bit name for each interaction: where in the log it stands, uint64 [n]."""
    return _position_hashes(partitions, offsets, parts)  # type: ignore[no-any-return]


@numba.njit(cache=True)
def _position_hashes(partitions, offsets, parts):  # type: ignore[no-untyped-def]
    hashes = np.empty(len(offsets), np.uint64)
    for i in range(len(offsets)):
        hashes[i] = mix(
            mix(np.uint64(offsets[i])) ^ np.uint64(partitions[i]) << np.uint64(32) ^ np.uint64(parts[i])
        )
    return hashes
