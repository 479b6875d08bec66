"""Judging an event before it is learnt: the rank of its item by the live score, popularity and neighbours."""

import numba
import numpy as np

from state.arrays import F64, I64, U32
from state.maps import entries_of
from state.scoring import blend, factors, neighbours, popularity
from state.scoring.blend import Catalogue, Known
from state.scoring.dislikes import disliked_of, push_down
from stream.evaluation.ranking import candidates, count_loss, middle_rank, softmax_loss
from stream.walk.comparing import compare, find_common
from stream.walk.values import BASELINE, LIVE, Items, Room, Scalars, Shared, Users, Walked

REFRESH_EVENTS = 100
"""Popularity in the live score is brought up to date this often; every 1,000 events loses 2 to 6 %."""

OF_KNOWN, OF_NEWCOMERS = range(2)
"""Places of `Scalars.refreshed_at`."""


@numba.njit(cache=True)
def scalars_of_known(
    scalars: Scalars, weights: F64, catalogue: Catalogue, clock: int, item_count: int
) -> F64:
    """The scalars of the first `item_count` items for users known, no older than `REFRESH_EVENTS`."""
    popular = weights[blend.POPULARITY : blend.NEIGHBOURS]
    return _fresh(scalars.of_known[:item_count], OF_KNOWN, scalars.refreshed_at, catalogue, popular, clock)


@numba.njit(cache=True)
def scalars_of_newcomers(
    scalars: Scalars, weights: F64, catalogue: Catalogue, clock: int, item_count: int
) -> F64:
    """The same for newcomers, with weights of their own: their scores."""
    return _fresh(
        scalars.of_newcomers[:item_count], OF_NEWCOMERS, scalars.refreshed_at, catalogue, weights, clock
    )


@numba.njit(cache=True)
def _fresh(values: F64, place: int, refreshed_at: I64, catalogue: Catalogue, weights: F64, clock: int) -> F64:
    """Scalars, computed anew if they are too old."""
    if refreshed_at[place] < 0 or clock - refreshed_at[place] >= REFRESH_EVENTS:
        popularity.scalars(catalogue.counts, catalogue.counted_at, clock, weights, values)
        refreshed_at[place] = clock
    return values


@numba.njit(cache=True)
def follow(item: int, items: Items, shared: Shared) -> None:
    """Bring the scalars of one item up to date, among those that are in use."""
    counts, counted_at, clock = items.catalogue.counts, items.catalogue.counted_at, int(shared.clock[0])
    scalars = shared.scalars
    if scalars.refreshed_at[OF_KNOWN] >= 0:
        weights = shared.learnt.weights[blend.POPULARITY : blend.NEIGHBOURS]
        scalars.of_known[item] = popularity.scalar(counts, counted_at, item, clock, weights)
    if scalars.refreshed_at[OF_NEWCOMERS] >= 0:
        weights = shared.of_newcomers.weights
        scalars.of_newcomers[item] = popularity.scalar(counts, counted_at, item, clock, weights)


@numba.njit(cache=True)
def judge_by_blend(
    e: int, item: int, excluded: U32, known: Known, items: Items, shared: Shared, room: Room, walked: Walked
) -> None:
    """Judge an item by the ranking score for a user."""
    count, weights = int(shared.born[1]), shared.learnt.weights
    scalars = scalars_of_known(shared.scalars, weights, items.catalogue, int(shared.clock[0]), count)
    blend.score_all(items.catalogue, known, scalars, weights, room.scores[:count])
    judge(e, item, excluded, known.last, items, shared, room, walked)


@numba.njit(cache=True)
def judge_by_factors(
    e: int,
    user: int,
    item: int,
    excluded: U32,
    users: Users,
    items: Items,
    shared: Shared,
    room: Room,
    walked: Walked,
) -> None:
    """Judge an item by bias and inner product with a user."""
    scores = room.scores[: shared.born[1]]
    factors.score_all(users.vectors, user, items.catalogue.vectors, items.biases, scores)
    push_down(disliked_of(*entries_of(users.histories, user)), scores)
    judge(e, item, excluded, np.empty(0, np.int64), items, shared, room, walked)


@numba.njit(cache=True)
def judge_for_newcomer(
    e: int, item: int, blends: bool, items: Items, shared: Shared, room: Room, walked: Walked
) -> None:
    """Judge an item by what a user of whom nothing is known is told."""
    count, clock = int(shared.born[1]), int(shared.clock[0])
    scores, candidate, catalogue = room.scores[:count], room.candidate[:count], items.catalogue
    candidates(items.interactions, np.empty(0, np.uint32), candidate)
    calibration = shared.calibrations[0]
    if blends:
        weights = shared.of_newcomers.weights
        scores = scalars_of_newcomers(shared.scalars, weights, catalogue, clock, count)
        walked.losses[e, 0] = softmax_loss(scores, item, candidate, calibration)
    else:
        popularity.present(catalogue.counts, catalogue.counted_at, popularity.COMMON, clock, scores)
        walked.losses[e, 0] = count_loss(scores, item, candidate, calibration)
    walked.ranks[e, 0] = middle_rank(scores, item, candidate)


@numba.njit(cache=True)
def judge(
    e: int, item: int, excluded: U32, last: I64, items: Items, shared: Shared, room: Room, walked: Walked
) -> None:
    """Judge an item by `room.scores`, and then by the other models that are asked for, which overwrite them.

    `last` int64 [<= 5] are the items that the user liked last, newest first.
    """
    count = shared.born[1]
    scores, candidate = room.scores[:count], room.candidate[:count]
    candidates(items.interactions, excluded, candidate)
    find_common(item, candidate, shared, room)
    walked.warm[e] = True
    walked.ranks[e, 0] = middle_rank(scores, item, candidate)
    walked.losses[e, 0] = softmax_loss(scores, item, candidate, shared.calibrations[0])
    compare(e, LIVE, item, scores, False, shared, room, walked)
    catalogue, models = items.catalogue, len(shared.calibrations)
    if models > 1:
        popularity.present(
            catalogue.counts, catalogue.counted_at, popularity.COMMON, int(shared.clock[0]), scores
        )
        walked.ranks[e, 1] = middle_rank(scores, item, candidate)
        walked.losses[e, 1] = count_loss(scores, item, candidate, shared.calibrations[1])
        compare(e, BASELINE, item, scores, True, shared, room, walked)
    if models > 2:
        neighbours.directed_scores(catalogue.lists, catalogue.counts[:, popularity.EVER], last, scores)
        walked.ranks[e, 2] = middle_rank(scores, item, candidate)
        walked.losses[e, 2] = softmax_loss(scores, item, candidate, shared.calibrations[2])
