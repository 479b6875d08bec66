"""Why an item has the ranking score that it has: the parts of `blend`, in words that people use."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from state.arrays import F64
from state.scoring import blend, dislikes, neighbours, popularity
from state.scoring.blend import Catalogue, Sparse


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the parts of a score add up to.

    `taste`: the user's own vector, and that the user dislikes the item; `recent`: how alike the item is
    to the last ones; `neighbours`: what people chose next to each of the last items, by that item's
    ordinal; `popularity`; `had_before`: that the item is in the history, where that counts.
    """

    taste: float
    recent: float
    neighbours: Mapping[int, float]
    popularity: float
    had_before: float

    @property
    def score(self) -> float:
        """The sum."""
        return self.taste + self.recent + sum(self.neighbours.values()) + self.popularity + self.had_before


def explain(known: blend.Known, catalogue: Catalogue, weights: F64, popular: float, item: int) -> Explanation:
    """The parts of an item's score for a user of whom something is known; they add up to it but for rounding.

    `popular` is the popularity part of the score, the item's `popularity.scalar`. What a neighbour's features
    say is shared among the last items in proportion to what each gave to the strength behind the feature.
    """
    interests, last, sparse, disliked = known
    pushed = -dislikes.PENALTY if item in disliked else 0.0
    liking = weights[: blend.INTERESTS] * _similarities(interests.astype(np.float64), catalogue, item)
    by_interest = liking.reshape(2, blend.TASTES).sum(axis=0)
    found = np.flatnonzero(sparse.items == item)
    near: Mapping[int, float] = {}
    had_before = 0.0
    if len(found):
        features = np.zeros(blend.SIZE_REPEATS - blend.NEIGHBOURS)
        blend.sparse_features(sparse, int(found[0]), features)
        said = weights[blend.NEIGHBOURS :] * features
        had_before = float(said[2 * neighbours.FEATURES :].sum())
        by_feature = said[: 2 * neighbours.FEATURES].reshape(2, neighbours.FEATURES).sum(axis=0)
        near = _by_last_item(by_feature, catalogue, sparse, int(found[0]), last.tolist())
    return Explanation(
        float(by_interest[0]) + pushed, float(by_interest[1:].sum()), near, popular, had_before
    )


def _similarities(interests: F64, catalogue: Catalogue, item: int) -> F64:
    similar: F64 = interests @ catalogue.vectors[item].astype(np.float64) * catalogue.inverse_norms[item]
    return similar


def _by_last_item(
    by_feature: F64, catalogue: Catalogue, sparse: Sparse, at: int, last: list[int]
) -> Mapping[int, float]:
    """The weighed features `by_feature` float64 [8] of a neighbour, shared among the `last` items."""
    lists = catalogue.lists
    whole = sparse.strengths[at]
    shared: dict[int, float] = {}
    for q, owner in enumerate(last):
        likes = catalogue.counts[owner, popularity.EVER]
        slots = np.flatnonzero(lists.other[owner, : lists.length[owner]] == sparse.items[at])
        for slot in slots.tolist():
            part = np.array(neighbours.strengths_of(lists, likes, owner, slot, q))
            shares = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
            value = float(by_feature @ shares[list(neighbours.STRENGTH_OF)])
            shared[owner] = shared.get(owner, 0.0) + value
    return shared
