"""What the model says about items: pure functions of the catalogue and one user.

For a user whose taste is known the score of item i is

    implicit feedback    b_i + x . y_i
    explicit feedback    mean + b_u + b_i + x . y_i        (the predicted rating)

and a recommendation is the exact top K of it. A *cold* user, unknown or with nothing learnt, is
recommended what is popular, scored log(1 + decayed popularity); `score` gives such a user the same number
under implicit feedback, and the rating mean + b_i under explicit feedback. An item the model has never
seen scores as if its vector, bias and popularity were zero.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from serving.kernels import top_k

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All n items as of event number `clock`; index = ordinal.

    `vectors` float32 [n, rank]; `bias` float32 [n]; `popularity` float64 [n] is a decayed count as of event
    `popular_at` int64 [n], halving every `half_life_events`; `mean` is the mean rating, None under
    implicit feedback.
    """

    vectors: F32
    bias: F32
    popularity: F64
    popular_at: I64
    clock: int
    half_life_events: float
    mean: float | None

    def __len__(self) -> int:
        return len(self.bias)

    @cached_property
    def log_popularity(self) -> F64:
        """log(1 + popularity as of `clock`), float64 [n]: float32 would make ties of near neighbours."""
        age_events = self.clock - self.popular_at
        decay = np.exp2(-age_events / self.half_life_events)
        logs: F64 = np.log1p(np.maximum(self.popularity, 0.0) * decay)
        return logs


@dataclass(frozen=True, slots=True, eq=False)
class User:
    """A user with a row: `vector` float32 [rank], `bias`, and the ordinals `seen` int64 [m] of past items."""

    vector: F32
    bias: float
    seen: I64


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Items best first: `ordinals` int64 [m], `scores` float32 [m]."""

    ordinals: I64
    scores: F32


def has_taste(user: User | None) -> TypeGuard[User]:
    """Whether anything has been learnt that tells this user from others."""
    return user is not None and bool(user.vector.any())


def recommend(catalogue: Catalogue, user: User | None, k: int, include_seen: bool) -> Ranking:
    """The best `k` items for a user, fewer when the catalogue has fewer; ties by the lower ordinal."""
    scores = _predict(catalogue, slice(None), user) if has_taste(user) else catalogue.log_popularity.copy()
    if user is not None and not include_seen:
        scores[user.seen] = -np.inf
    best = top_k(scores, k)
    return Ranking(best, scores[best].astype(np.float32))


def score(catalogue: Catalogue, user: User | None, ordinals: I64) -> F32:
    """Scores float32 [m] of the items `ordinals` int64 [m], where -1 stands for an unknown item."""
    known = ordinals >= 0
    scores = np.full(len(ordinals), _level(catalogue, user), np.float32)
    if has_taste(user):
        scores[known] = _predict(catalogue, ordinals[known], user)
    elif catalogue.mean is None:
        scores[known] = catalogue.log_popularity[ordinals[known]]
    else:
        scores[known] += catalogue.bias[ordinals[known]]
    return scores


def _predict(catalogue: Catalogue, which: slice | I64, user: User) -> F32:
    """Scores float32 of the chosen items for a user."""
    scores: F32 = catalogue.vectors[which] @ user.vector
    scores += catalogue.bias[which]
    scores += np.float32(_level(catalogue, user))
    return scores


def _level(catalogue: Catalogue, user: User | None) -> float:
    """What a score is made of before anything about the item is known."""
    if catalogue.mean is None:
        return 0.0
    return catalogue.mean + (user.bias if user is not None else 0.0)
