"""Models that rank all items for one user, side by side in a replay.

Each answers a `Query` with one number per item, and hears of every positive after it was scored. Factors
are learnt elsewhere, by `stream.step`; the counts here belong to the experts themselves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numba
import numpy as np
import numpy.typing as npt

from state import neighbours
from state.kernels import dot
from state.model import Model
from stream import popularity
from stream.events import F32, I64
from stream.neighbours import learn as learn_neighbours
from stream.prequential import item_scores
from stream.ranking import Answer

F64 = npt.NDArray[np.float64]

DECAYS = (0.99, 0.995, 0.999, 0.9999)
"""What is left of a positive's weight after each further one."""

WINDOW_EVENTS = 1_000
"""Positives in one window of `WindowPopularity`."""

LAST_ITEMS = 5
"""Items of a user that `ItemMean` looks at."""

NeighbourScorer = Callable[[neighbours.Lists, F64, I64, F64], None]
"""Fills in the scores of all items from lists, the items' counts and a user's last items, newest first."""

WEIGHT_MAX = 1e100
COUNT_LEAST = 1e-250


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """For whom to rank the first `items` items: the user's slot, -1 for one never seen, and past items.

    `history` int64 [n] holds item ordinals, oldest first.
    """

    items: int
    user: int
    history: I64


class Expert(Protocol):
    """A model that can be asked and told."""

    def answer(self, query: Query) -> Answer:
        """One number for each of the first `query.items` items; an array that lives until the next call."""
        ...

    def learn(self, users: I64, items: I64) -> None:
        """Positives that have just been learnt, in order: slots of users, ordinals of items."""
        ...


class Factors:
    """s_i = b_i + x . y_i; for a user without a vector the decayed popularity, as the scorer answers."""

    def __init__(self, model: Model, half_life_events: float) -> None:
        self._model, self._half_life_events = model, half_life_events
        self._scores = np.empty(model.items_max, np.float64)

    def answer(self, query: Query) -> Answer:
        """Scores of all items."""
        if query.user < 0:
            return popular(self._model, self._half_life_events)
        users, items = self._model.users, self._model.items
        scores = self._scores[: query.items]
        item_scores(users.vectors, query.user, items.vectors, items.bias, scores)
        return Answer(scores, are_counts=False)

    def learn(self, users: I64, items: I64) -> None:
        """The step does that."""


class ItemMean:
    """s_i = ŷ_i . mean of ŷ_j over the user's last few items j, with ŷ = y / |y|."""

    def __init__(self, model: Model, half_life_events: float) -> None:
        self._model, self._half_life_events = model, half_life_events
        self._scores = np.empty(model.items_max, np.float64)

    def answer(self, query: Query) -> Answer:
        """Scores of all items."""
        if not len(query.history):
            return popular(self._model, self._half_life_events)
        scores = self._scores[: query.items]
        mean_similarity(self._model.items.vectors, query.history[-LAST_ITEMS:], scores)
        return Answer(scores, are_counts=False)

    def learn(self, users: I64, items: I64) -> None:
        """The step does that."""


class ItemToItem:
    """Items that came next to the user's last few, by `scorer`: see `state.neighbours`."""

    def __init__(self, model: Model, half_life_events: float, scorer: NeighbourScorer) -> None:
        self._model, self._half_life_events, self._scorer = model, half_life_events, scorer
        self._lists = neighbours.empty_lists(model.items_max)
        self._counts = np.zeros(model.items_max, np.float64)
        self._latest: dict[int, list[int]] = {}
        self._scores = np.empty(model.items_max, np.float64)

    def answer(self, query: Query) -> Answer:
        """Scores of all items."""
        latest = self._latest.get(query.user)
        if latest is None:
            return popular(self._model, self._half_life_events)
        scores = self._scores[: query.items]
        self._scorer(self._lists, self._counts, np.array(latest, np.int64), scores)
        return Answer(scores, are_counts=False)

    def learn(self, users: I64, items: I64) -> None:
        """Count what came after what."""
        for user, item in zip(users.tolist(), items.tolist(), strict=True):
            latest = self._latest.get(user, [])
            learn_neighbours(self._lists, item, np.array(latest, np.int64))
            self._counts[item] += 1.0
            self._latest[user] = [item, *latest][: neighbours.LAST]


class DecayedPopularity:
    """Positives of each item, each worth `decay` times the next one; 1 is all-time popularity.

    Instead of all counts fading, the weight of a new positive grows: the order is the same.
    """

    def __init__(self, items_max: int, decay: float) -> None:
        self._counts, self._weight = np.zeros(items_max, np.float64), np.ones(1, np.float64)
        self._growth = 1.0 / decay

    def answer(self, query: Query) -> Answer:
        """Counts of all items, in a unit of their own."""
        return Answer(self._counts[: query.items], are_counts=True)

    def learn(self, users: I64, items: I64) -> None:
        """Count."""
        count_growing(items, self._counts, self._weight, self._growth)


class WindowPopularity:
    """Positives of each item in the last complete window; before there is one, in the present window."""

    def __init__(self, items_max: int, window_events: int = WINDOW_EVENTS) -> None:
        self._previous: F64 | None = None
        self._present = np.zeros(items_max, np.float64)
        self._window_events, self._filled = window_events, 0

    def answer(self, query: Query) -> Answer:
        """Counts of all items."""
        counts = self._present if self._previous is None else self._previous
        return Answer(counts[: query.items], are_counts=True)

    def learn(self, users: I64, items: I64) -> None:
        """Count, and begin a new window when one is full."""
        for item in items.tolist():
            self._present[item] += 1.0
            self._filled += 1
            if self._filled == self._window_events:
                self._previous, self._present = self._present, np.zeros_like(self._present)
                self._filled = 0


def popular(model: Model, half_life_events: float) -> Answer:
    """The model's own decayed popularity: what it tells a user of whom nothing is known."""
    items, count = model.items, model.item_count
    counts = popularity.present(
        items.popularity[:count], items.popular_at[:count], model.clock, half_life_events
    )
    return Answer(counts, are_counts=True)


def popularities(items_max: int) -> dict[str, Callable[[], Expert]]:
    """How to make each kind of popularity, by the name it has in reports."""
    return {
        **{f"decayed_popularity_{half_life(d)}": partial(DecayedPopularity, items_max, d) for d in DECAYS},
        "window_popularity": partial(WindowPopularity, items_max),
        "popularity": partial(DecayedPopularity, items_max, 1.0),
    }


def half_life(decay: float) -> int:
    """Events after which half of a weight is left, rounded.

    >>> [half_life(decay) for decay in DECAYS]
    [69, 138, 693, 6931]
    """
    return round(math.log(0.5) / math.log(decay))


@numba.njit(cache=True)
def count_growing(items: I64, counts: F64, weight: F64, growth: float) -> None:
    """Add `weight` float64 [1] to the count of each item in order; it grows by `growth` each time.

    All counts shrink before it is huge.
    """
    for item in items:
        counts[item] += weight[0]
        weight[0] *= growth
        if weight[0] > WEIGHT_MAX:
            for other in range(len(counts)):
                shrunk = counts[other] / weight[0]
                counts[other] = shrunk if shrunk > COUNT_LEAST else 0.0
            weight[0] = 1.0


@numba.njit(cache=True)
def mean_similarity(vectors: F32, last: I64, scores: F64) -> None:
    """scores[i] = ŷ_i . mean of ŷ_j over `last` int64 [m], 0 for zero rows; `vectors` float32 [>= n, r]."""
    rank = vectors.shape[1]
    mean = np.zeros((1, rank), np.float32)
    for j in last:
        norm = math.sqrt(dot(vectors, j, vectors, j))
        if norm > 0:
            for b in range(rank):
                mean[0, b] += vectors[j, b] / np.float32(norm * len(last))
    for item in range(len(scores)):
        norm = math.sqrt(dot(vectors, item, vectors, item))
        scores[item] = dot(vectors, item, mean, 0) / norm if norm > 0 else 0.0
