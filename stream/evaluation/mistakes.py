"""The largest mistakes of the ranking score in a replay, each taken apart before anything learnt from it.

A mistake is as large as the score of the item ranked first exceeds that of the item wanted: the weights are
learnt as those of log-odds, and it is this difference that the parts of both scores explain.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from state.arrays import F32, I64, Mask
from state.factors import FactorTable
from state.model import Model
from state.scoring.explanation import Explanation
from stream.evaluation.experts import Blend, Query
from stream.evaluation.ranking import Answer
from stream.evaluation.trace import top_items

PARTS = ("taste", "recent items", "neighbours", "popularity", "had before")


@dataclass(frozen=True, slots=True)
class Told:
    """An item's score and the parts that it is the sum of; `because` says neighbours of which past items."""

    item: str
    score: float
    parts: Mapping[str, float]
    because: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Mistake:
    """An event of the stream by its number: what its user wanted, and what was ranked first instead.

    `user` is None for one never seen before.
    """

    event: int
    user: str | None
    rank: float
    log_loss: float
    wanted: Told
    first: Told


class Mistakes:
    """Keeps the `count` largest mistakes of `expert`."""

    def __init__(self, count: int, model: Model, expert: Blend) -> None:
        self._expert, self._count, self._model = expert, count, model
        self._heap: list[tuple[float, int, str | None, Told, Told]] = []

    def observe(self, event: int, query: Query, item: int, candidate: Mask) -> None:
        """Ask about an event with that `item`, one of the candidates, before anything learns from it."""
        answer = self._expert.answer(query)
        first = int(top_items(answer.scores, candidate, 1)[0])
        size = float(answer.scores[first] - answer.scores[item])
        if size <= 0.0 or (len(self._heap) == self._count and size <= self._heap[0][0]):
            return
        user = None if query.user < 0 else _names(self._model.users, [query.user])[0]
        # Of two mistakes of the same size the later one goes.
        entry = size, -event, user, self._told(query, answer, item), self._told(query, answer, first)
        if len(self._heap) < self._count:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def largest(self, events: I64, ranks: F32, losses: F32) -> Sequence[Mistake]:
        """Those kept, the largest first, with ranks and log losses of `events`: columns [n] in order."""
        found = []
        for _, negated, user, wanted, first in sorted(self._heap, reverse=True):
            at = np.searchsorted(events, -negated)
            found.append(Mistake(-negated, user, float(ranks[at]), float(losses[at]), wanted, first))
        return found

    def _told(self, query: Query, answer: Answer, item: int) -> Told:
        why: Explanation = self._expert.explain(query, item)
        near = sorted(why.neighbours.items(), key=lambda each: -abs(each[1]))
        name, *owners = _names(self._model.items, [item, *(owner for owner, _ in near)])
        because = {owner: value for owner, (_, value) in zip(owners, near, strict=True)}
        values = why.taste, why.recent, sum(why.neighbours.values()), why.popularity, why.had_before
        parts = dict(zip(PARTS, values, strict=True))
        return Told(name, float(answer.scores[item]), parts, because)


def _names(table: FactorTable, slots: Sequence[int]) -> list[str]:
    return [row_id.decode(errors="replace") for row_id in table.ids(np.array(slots, np.int64))]
