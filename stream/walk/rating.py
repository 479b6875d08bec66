"""The models of `COMPARED` on one rating: squared errors of what they predict of it."""

import numba
import numpy as np

from state.arrays import F32, F64
from state.inner_product import dot
from state.maps import entries_of
from stream.events import Learnable
from stream.learning import explicit_als
from stream.learning.blend import contains
from stream.walk.comparing import known_to
from stream.walk.values import BASELINE, FROZEN, LIVE, LOSS, Items, Room, Shared, Users, Walked

DAMPING = 5.0
"""Ratings like the mean of all that the baseline adds to those of a user (Ekstrand et al. 2011, LensKit)."""


@numba.njit(cache=True)
def compare_ratings(
    e: int, events: Learnable, users: Users, items: Items, shared: Shared, room: Room, walked: Walked
) -> None:
    """Judge the models by a rating of a user who has rated, but not this item, which all of them know."""
    user, item = events.users[e], int(events.items[e])
    history, ratings = entries_of(users.histories, user)
    frozen, mean, bounds = shared.comparison.frozen, shared.mean[0], shared.ratings_seen
    if events.remove[e] or not shared.mean[1] or not len(history) or contains(history, item):
        return
    count = len(frozen.interactions)
    if items.interactions[item] <= 0 or (count and (item >= count or frozen.interactions[item] <= 0)):
        return
    rating, losses = np.float64(events.strengths[e]), walked.compared[e, :, LOSS]
    biases = np.float64(users.biases[user]) + items.biases[item]
    live = mean + biases + dot(users.vectors, user, items.catalogue.vectors, item)
    losses[LIVE] = _squared_error(live, rating, bounds)
    losses[BASELINE] = _squared_error(_mean_of(ratings, mean), rating, bounds)
    if count:
        others, known = known_to(frozen, history, ratings)
        vectors = frozen.catalogue.vectors
        bias = explicit_als.fold_in(
            others.astype(np.int64),
            known,
            vectors,
            frozen.biases,
            frozen.mean,
            frozen.rating_penalties,
            room.of_rater,
            room.folded,
        )
        predicted = frozen.mean + bias + frozen.biases[item] + dot(room.folded, 0, vectors, item)
        losses[FROZEN] = _squared_error(predicted, rating, bounds)


@numba.njit(cache=True)
def _mean_of(ratings: F32, mean: float) -> float:
    """Of a user's ratings float32 [n], drawn towards the `mean` of all the more, the fewer there are."""
    total = np.float64(DAMPING * mean)
    for rating in ratings:
        total += np.float64(rating)
    return total / (len(ratings) + DAMPING)


@numba.njit(cache=True)
def _squared_error(prediction: float, rating: float, bounds: F64) -> float:
    """Of a prediction, brought within the `bounds` float64 [2] of the ratings seen."""
    error: float = min(max(prediction, bounds[0]), bounds[1]) - rating
    return error * error
