"""What the model says about items: pure functions of the catalogue and one user.

For a user whose taste is known the score of item i is

    ranked by the blend    ŷ_i . q_u + popularity_i + neighbours_u(i)    (see `state.scoring.blend`)
    by factors             b_i + x . y_i
    explicit feedback      mean + b_u + b_i + x . y_i                    (the predicted rating, brought
                                                                          within the range of those seen)

and a recommendation is the exact top K of it. A *cold* user, unknown or with nothing learnt, is
recommended what is popular: by what the blend has learnt of newcomers, else scored log(1 + decayed
popularity); `score` gives such a user the same number, and the rating mean + b_i under explicit feedback.
A user of whom nothing but dislikes is known is not cold; by factors they are told what is popular, too. An
item scores less for a user who dislikes it (see `state.scoring.dislikes`).
An item the model has never seen scores as if its vector, bias and popularity were zero.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

import numpy as np

from state.arrays import F32, F64, I32, I64, U32
from state.scoring import blend, explanation, factors, popularity
from state.scoring.dislikes import PENALTY, disliked_of, push_down, push_down_some
from state.scoring.explanation import Explanation
from state.scoring.top_k import top_k


@dataclass(frozen=True, slots=True, eq=False)
class Blended:
    """What the blend needs of all n items beside their vectors.

    `catalogue`; `weights` float64 [40]; `scalars` float64 [n], the popularity part of every score, and
    `for_newcomers` float64 [n], the whole score for those of whom nothing is known; `repeats`: items already
    seen are offered again; `place` int32 [n] is scratch, -1 everywhere.
    """

    catalogue: blend.Catalogue
    weights: F64
    scalars: F64
    for_newcomers: F64
    repeats: bool
    place: I32


@dataclass(frozen=True, slots=True)
class Ratings:
    """What ratings there were: their mean, the lowest and the highest."""

    mean: float
    lowest: float
    highest: float

    def clip(self, predictions: F32) -> F32:
        """Predictions float32 [n] within the range of what there was, which is what is measured of them."""
        if self.lowest > self.highest:
            return predictions
        clipped: F32 = np.clip(predictions, self.lowest, self.highest)
        return clipped


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All n items as of event number `clock`; index = ordinal.

    `vectors` float32 [n, rank]; `bias` float32 [n]; `counts` float64 [n, 5] and `counted_at` int64 [n]:
    see `state.scoring.popularity`; `interactions` int32 [n], of which an item needs one to be offered;
    `ratings` is None under implicit feedback; `blended` is None where items are ranked by factors.
    """

    vectors: F32
    bias: F32
    counts: F64
    counted_at: I64
    interactions: I32
    clock: int
    ratings: Ratings | None
    blended: Blended | None = None

    def __len__(self) -> int:
        return len(self.bias)

    @cached_property
    def log_popularity(self) -> F64:
        """log(1 + popularity as of `clock`), float64 [n]: float32 would make ties of near neighbours."""
        counts = np.empty(len(self), np.float64)
        popularity.present(self.counts, self.counted_at, popularity.COMMON, self.clock, counts)
        logs: F64 = np.log1p(counts)
        return logs

    @property
    def popularity_scores(self) -> F64:
        """What items score for a user of whom nothing is known, float64 [n]."""
        return self.log_popularity if self.blended is None else self.blended.for_newcomers


@dataclass(frozen=True, slots=True, eq=False)
class User:
    """A user with a row: `vector` float32 [rank], `bias`, and past items, oldest first.

    `seen` uint32 [m] are their ordinals, `strengths` float32 [m] of what sign and how strong; the last event
    was at `last_event_ms`.
    """

    vector: F32
    bias: float
    seen: U32
    strengths: F32
    last_event_ms: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Items best first: `ordinals` int64 [m], `scores` float32 [m]."""

    ordinals: I64
    scores: F32


def is_known(user: User | None) -> TypeGuard[User]:
    """Whether anything is known of a user: what has been learnt, or a history."""
    return user is not None and (bool(user.vector.any()) or len(user.seen) > 0)


def recommend(catalogue: Catalogue, user: User | None, k: int, include_seen: bool, now_ms: int) -> Ranking:
    """The best `k` items for a user, fewer when the catalogue has fewer; ties by the lower ordinal."""
    if _has_taste(user, catalogue):
        scores = _predict_all(catalogue, user, now_ms)
    else:
        scores = catalogue.popularity_scores.copy()
        push_down(_disliked(catalogue, user), scores)
    repeats = catalogue.blended is not None and catalogue.blended.repeats
    if user is not None and not include_seen and not repeats:
        scores[user.seen] = -np.inf
    scores[catalogue.interactions <= 0] = -np.inf
    best = top_k(scores, k)
    found = scores[best].astype(np.float32)
    if catalogue.ratings is not None and _has_taste(user, catalogue):
        found = catalogue.ratings.clip(found)
    return Ranking(best, found)


def score(catalogue: Catalogue, user: User | None, ordinals: I64, now_ms: int) -> F32:
    """Scores float32 [m] of the items `ordinals` int64 [m], where -1 stands for an unknown item."""
    known = ordinals >= 0
    scores = np.full(len(ordinals), _level(catalogue, user), np.float32)
    if _has_taste(user, catalogue):
        scores[known] = _predict_some(catalogue, user, ordinals[known], now_ms)
    elif catalogue.ratings is None:
        popular = catalogue.popularity_scores[ordinals[known]]
        push_down_some(_disliked(catalogue, user), ordinals[known], popular)
        scores[known] = popular
    else:
        scores[known] += catalogue.bias[ordinals[known]]
    return scores if catalogue.ratings is None else catalogue.ratings.clip(scores)


def explain(catalogue: Catalogue, user: User | None, ordinal: int, now_ms: int) -> Explanation:
    """The parts of an item's `score`, which add up to it but for rounding; -1 stands for an unknown item.

    What does not depend on who asks counts as popularity; by factors the rest is taste.
    """
    blended = catalogue.blended
    if blended is not None and is_known(user) and ordinal >= 0:
        known = _known(blended, catalogue.clock, user, now_ms)
        popular = float(blended.scalars[ordinal])
        return explanation.explain(known, blended.catalogue, blended.weights, popular, ordinal)
    taste = -PENALTY if ordinal in _disliked(catalogue, user) else 0.0
    if blended is None and user is not None and ordinal >= 0:
        taste += float(user.vector.astype(np.float64) @ catalogue.vectors[ordinal])
    whole = float(score(catalogue, user, np.array([ordinal]), now_ms)[0])
    return Explanation(taste, 0.0, {}, whole - taste, 0.0)


def _has_taste(user: User | None, catalogue: Catalogue) -> TypeGuard[User]:
    """Whether a user's scores are their own: factors need a vector, the blend but a history."""
    return is_known(user) and (catalogue.blended is not None or bool(user.vector.any()))


def _disliked(catalogue: Catalogue, user: User | None) -> I64:
    """Items that a user dislikes, int64 [m]; ratings say it themselves."""
    if user is None or catalogue.ratings is not None:
        return np.zeros(0, np.int64)
    return disliked_of(user.seen, user.strengths)


def _predict_all(catalogue: Catalogue, user: User, now_ms: int) -> F64:
    """Scores float64 [n] of all items for a user."""
    out = np.empty(len(catalogue), np.float64)
    blended = catalogue.blended
    if blended is not None:
        known = _known(blended, catalogue.clock, user, now_ms)
        blend.score_all(blended.catalogue, known, blended.scalars, blended.weights, out)
    else:
        factors.score_all(user.vector.reshape(1, -1), 0, catalogue.vectors, catalogue.bias, out)
        out += _level(catalogue, user)
        push_down(_disliked(catalogue, user), out)
    return out


def _predict_some(catalogue: Catalogue, user: User, items: I64, now_ms: int) -> F64:
    """Scores float64 [m] of some items for a user, to the bit as `_predict_all` has them."""
    out = np.empty(len(items), np.float64)
    blended = catalogue.blended
    if blended is not None:
        known = _known(blended, catalogue.clock, user, now_ms)
        blend.score_some(
            blended.catalogue, known, blended.scalars, blended.weights, items, blended.place, out
        )
    else:
        vector = user.vector.reshape(1, -1)
        factors.score_some(vector, 0, catalogue.vectors, catalogue.bias, items, out)
        out += _level(catalogue, user)
        push_down_some(_disliked(catalogue, user), items, out)
    return out


def _known(blended: Blended, clock: int, user: User, now_ms: int) -> blend.Known:
    known: blend.Known = blend.known_of(
        user.vector.reshape(1, -1),
        0,
        user.seen,
        user.strengths,
        now_ms - user.last_event_ms,
        blended.catalogue,
        clock,
        blended.repeats,
        blended.place,
    )
    return known


def _level(catalogue: Catalogue, user: User | None) -> float:
    """What a score is made of before anything about the item is known."""
    if catalogue.ratings is None:
        return 0.0
    return catalogue.ratings.mean + (user.bias if user is not None else 0.0)
