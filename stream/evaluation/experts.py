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

from state import neighbours
from state.arrays import F32, F64, I64
from state.inner_product import dot
from state.model import Model
from state.scoring import blend, factors, popularity
from state.scoring.dislikes import disliked_of, push_down
from state.scoring.explanation import Explanation, explain
from state.scoring.popularity import half_life
from stream.evaluation.ranking import Answer
from stream.walk.judging import scalars_of_known, scalars_of_newcomers
from stream.walk.values import Scalars

DECAYS = popularity.DECAYS[: popularity.EVER]
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
    """For whom to rank the first `items` items, and when: the user's slot, -1 for one never seen.

    `history` int64 [n] holds ordinals of past items, oldest first.
    """

    items: int
    user: int
    history: I64
    time_ms: int


class Expert(Protocol):
    """A model that can be asked and told."""

    def answer(self, query: Query) -> Answer:
        """One number for each of the first `query.items` items; an array that lives until the next call."""
        ...

    def learn(self, users: I64, items: I64) -> None:
        """Positives that have just been learnt, in order: slots of users, ordinals of items."""
        ...


class Blend:
    """The ranking score of `state.scoring.blend`, with the `scalars` of a walk, which keeps them."""

    def __init__(self, model: Model, scalars: Scalars, repeats: bool) -> None:
        self._model, self._repeats = model, repeats
        self._place = np.full(model.items_max, -1, np.int32)
        self._scalars = scalars
        self._scores = np.empty(model.items_max, np.float64)

    def answer(self, query: Query) -> Answer:
        """Scores of all items."""
        model, values, scores = self._model, self._model.globals, self._scores[: query.items]
        when = model.catalogue, model.clock, query.items
        if query.user < 0:
            weights = values["newcomer_weights"]
            return Answer(scalars_of_newcomers(self._scalars, weights, *when), are_counts=False)
        scalars = scalars_of_known(self._scalars, values["weights"], *when)
        blend.score_all(model.catalogue, self._known(query), scalars, values["weights"], scores)
        return Answer(scores, are_counts=False)

    def explain(self, query: Query, item: int) -> Explanation:
        """The parts of an item's score, as the last `answer` to that query had it."""
        model = self._model
        if query.user < 0:
            return Explanation(0.0, 0.0, {}, float(self._scalars.of_newcomers[item]), 0.0)
        popular = float(self._scalars.of_known[item])
        return explain(self._known(query), model.catalogue, model.globals["weights"], popular, item)

    def _known(self, query: Query) -> blend.Known:
        model = self._model
        known: blend.Known = blend.known_of(
            model.users.vectors,
            query.user,
            *model.users.history(query.user),
            query.time_ms - int(model.users.last_event_ms[query.user]),
            model.catalogue,
            model.clock,
            self._repeats,
            self._place,
        )
        return known

    def learn(self, users: I64, items: I64) -> None:
        """The step does that."""


class Factors:
    """s_i = b_i + x . y_i; for a user without a vector the decayed popularity, as the scorer answers."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._scores = np.empty(model.items_max, np.float64)

    def answer(self, query: Query) -> Answer:
        """Scores of all items."""
        if query.user < 0:
            return popular(self._model)
        users, items = self._model.users, self._model.items
        scores = self._scores[: query.items]
        factors.score_all(users.vectors, query.user, items.vectors, items.bias, scores)
        push_down(disliked_of(*users.history(query.user)), scores)
        return Answer(scores, are_counts=False)

    def learn(self, users: I64, items: I64) -> None:
        """The step does that."""


class ItemMean:
    """s_i = ŷ_i . mean of ŷ_j over the user's last few items j, with ŷ = y / |y|."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._scores = np.empty(model.items_max, np.float64)

    def answer(self, query: Query) -> Answer:
        """Scores of all items."""
        if not len(query.history):
            return popular(self._model)
        scores = self._scores[: query.items]
        mean_similarity(self._model.items.vectors, query.history[-LAST_ITEMS:], scores)
        return Answer(scores, are_counts=False)

    def learn(self, users: I64, items: I64) -> None:
        """The step does that."""


class ItemToItem:
    """Items that came next to the user's last few, by `scorer`: see `state.neighbours`."""

    def __init__(self, model: Model, scorer: NeighbourScorer) -> None:
        self._model, self._scorer = model, scorer
        self._lists = neighbours.empty_lists(model.items_max)
        self._counts = np.zeros(model.items_max, np.float64)
        self._latest: dict[int, list[int]] = {}
        self._scores = np.empty(model.items_max, np.float64)

    def answer(self, query: Query) -> Answer:
        """Scores of all items."""
        latest = self._latest.get(query.user)
        if latest is None:
            return popular(self._model)
        scores = self._scores[: query.items]
        self._scorer(self._lists, self._counts, np.array(latest, np.int64), scores)
        return Answer(scores, are_counts=False)

    def learn(self, users: I64, items: I64) -> None:
        """Count what came after what."""
        for user, item in zip(users.tolist(), items.tolist(), strict=True):
            latest = self._latest.get(user, [])
            neighbours.learn(self._lists, item, np.array(latest, np.int64))
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


def popular(model: Model) -> Answer:
    """The model's own decayed popularity: what it tells a user of whom nothing is known."""
    counts = np.empty(model.item_count, np.float64)
    popularity.present(model.items.counts, model.items.counted_at, popularity.COMMON, model.clock, counts)
    return Answer(counts, are_counts=True)


def popularities(items_max: int) -> dict[str, Callable[[], Expert]]:
    """How to make each kind of popularity, by the name it has in reports."""
    return {
        **{f"decayed_popularity_{half_life(d)}": partial(DecayedPopularity, items_max, d) for d in DECAYS},
        "window_popularity": partial(WindowPopularity, items_max),
        "popularity": partial(DecayedPopularity, items_max, 1.0),
    }


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
