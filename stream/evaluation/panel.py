"""Several experts asked about the same events, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from state.arrays import F32, I64, Mask
from stream.evaluation.experts import Expert, Query
from stream.evaluation.ranking import Calibration, middle_rank


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What was measured, as parallel columns of length n, one element for each scored event in order.

    `events` int64 are numbers in the stream; `warm` bool; `ranks` float32 of each model (infinite for a
    miss) and its log `losses` float32 (NaN for a miss).
    """

    events: I64
    warm: Mask
    ranks: Mapping[str, F32]
    losses: Mapping[str, F32]


class Panel:
    """Experts by name, with room for their ranks of `count` events.

    `warm` bool [count]: which of those asked about so far are.
    """

    def __init__(self, experts: Mapping[str, Expert], count: int) -> None:
        self._experts: Sequence[Expert] = list(experts.values())
        self._row_of = {name: row for row, name in enumerate(experts)}
        self._calibrations = [Calibration() for _ in self._experts]
        self._ranks = np.empty((len(self._experts), count), np.float32)
        self._losses = np.empty_like(self._ranks)
        self._asked, self.warm = 0, np.zeros(count, np.bool_)

    def expert(self, name: str) -> tuple[Expert, Calibration]:
        """One of them, and what has been learnt of its probabilities."""
        row = self._row_of[name]
        return self._experts[row], self._calibrations[row]

    def ask(self, query: Query, item: int, candidate: Mask, warm: bool) -> None:
        """Rank `item`, one of the candidates (bool [items]), by every expert."""
        self.warm[self._asked] = warm
        for row, (expert, calibration) in enumerate(zip(self._experts, self._calibrations, strict=True)):
            answer = expert.answer(query)
            self._ranks[row, self._asked] = middle_rank(answer.scores, item, candidate)
            self._losses[row, self._asked] = calibration.loss(answer, item, candidate)
        self._asked += 1

    def miss(self) -> None:
        """An event whose item is no candidate."""
        self._ranks[:, self._asked], self._losses[:, self._asked] = np.inf, np.nan
        self._asked += 1

    def learn(self, users: I64, items: I64) -> None:
        """Tell every expert of positives that have just been learnt."""
        for expert in self._experts:
            expert.learn(users, items)

    def ranks(self, name: str) -> F32:
        """Of one expert, float32, of the events so far."""
        return self._ranks[self._row_of[name], : self._asked]

    def losses(self, name: str) -> F32:
        """Of one expert, float32, of the events so far."""
        return self._losses[self._row_of[name], : self._asked]
