"""Several experts asked about the same events, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from state.arrays import F32, I64, Mask
from stream.evaluation.experts import Expert, Query
from stream.evaluation.mistakes import Mistakes
from stream.evaluation.ranking import Calibration, middle_rank
from stream.evaluation.trace import Trace


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
    """Experts by name, with room for the ranks of `events` int64 [n]; two names may share an expert.

    `trace` observes the first one's answers, `mistakes` those of its own expert.
    """

    def __init__(
        self,
        experts: Mapping[str, Expert],
        events: I64,
        trace: Trace | None = None,
        mistakes: Mistakes | None = None,
    ) -> None:
        self._experts: Sequence[Expert] = list(dict.fromkeys(experts.values()))
        self._row_of = {name: self._experts.index(expert) for name, expert in experts.items()}
        self._calibrations = [Calibration() for _ in self._experts]
        self._events, self._warm = events, np.zeros(len(events), np.bool_)
        self._ranks = np.empty((len(self._experts), len(events)), np.float32)
        self._losses = np.empty_like(self._ranks)
        self._asked = 0
        self._trace, self._mistakes = trace, mistakes

    def ask(self, query: Query, item: int, candidate: Mask, warm: bool) -> None:
        """Rank `item`, one of the candidates (bool [items]), by every expert."""
        event = int(self._events[self._asked])
        self._warm[self._asked] = warm
        for row, (expert, calibration) in enumerate(zip(self._experts, self._calibrations, strict=True)):
            answer = expert.answer(query)
            if row == 0 and self._trace:
                self._trace.observe(event, answer, calibration, item, candidate)
            rank = middle_rank(answer.scores, item, candidate)
            loss = calibration.loss(answer, item, candidate)
            if self._mistakes and expert is self._mistakes.expert:
                self._mistakes.observe(event, query, answer, item, candidate, rank, loss)
            self._ranks[row, self._asked], self._losses[row, self._asked] = rank, loss
        self._asked += 1

    def miss(self) -> None:
        """An event whose item is no candidate."""
        self._ranks[:, self._asked], self._losses[:, self._asked] = np.inf, np.nan
        self._asked += 1

    def learn(self, users: I64, items: I64) -> None:
        """Tell every expert of positives that have just been learnt."""
        for expert in self._experts:
            expert.learn(users, items)
        if self._trace:
            self._trace.learn(items)

    def hit_rate(self, k: int) -> float:
        """The first expert's share of hits so far, 0 before there are any."""
        return float((self._ranks[0, : self._asked] <= k).mean()) if self._asked else 0.0

    def scores(self) -> Scores:
        """Everything so far."""
        asked = slice(0, self._asked)
        return Scores(
            self._events[asked],
            self._warm[asked],
            {name: self._ranks[row, asked] for name, row in self._row_of.items()},
            {name: self._losses[row, asked] for name, row in self._row_of.items()},
        )
