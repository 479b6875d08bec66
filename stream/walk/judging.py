"""Judging an event before it is learnt: the rank of its item by the live score and by popularity."""

import numba

from state.arrays import U32
from state.scoring import blend, factors, popularity
from state.scoring.blend import Known
from stream.evaluation.ranking import candidates, count_loss, middle_rank, softmax_loss
from stream.walk.values import Items, Room, Shared, Users, Walked

REFRESH_EVENTS = 100
"""Popularity in the live score is brought up to date this often; every 1,000 events loses 2 to 6 %."""


@numba.njit(cache=True)
def score_by_blend(known: Known, items: Items, shared: Shared, room: Room) -> None:
    """Scores of all items for a user into `room.scores`."""
    catalogue, clock = items.catalogue, shared.clock[0]
    count = int(shared.born[1])
    weights = shared.learnt.weights
    if room.refreshed_at[0] < 0 or clock - room.refreshed_at[0] >= REFRESH_EVENTS:
        popularity.scalars(
            catalogue.counts,
            catalogue.counted_at,
            clock,
            weights[blend.POPULARITY : blend.NEIGHBOURS],
            room.scalars[:count],
        )
        room.refreshed_at[0] = clock
    blend.score_all(catalogue, known, room.scalars, weights, room.scores[:count])


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
    """Judge an item by the inner products with a user."""
    scores = room.scores[: shared.born[1]]
    factors.score_all(users.vectors, user, items.catalogue.vectors, items.biases, scores)
    judge(e, item, excluded, items, shared, room, walked)


@numba.njit(cache=True)
def judge(e: int, item: int, excluded: U32, items: Items, shared: Shared, room: Room, walked: Walked) -> None:
    """Judge an item by `room.scores`, and then by popularity, which overwrites them."""
    count = shared.born[1]
    scores, candidate = room.scores[:count], room.candidate[:count]
    candidates(items.interactions, excluded, candidate)
    walked.ranks[e, 0] = middle_rank(scores, item, candidate)
    walked.losses[e, 0] = softmax_loss(scores, item, candidate, shared.calibrations[0])
    catalogue = items.catalogue
    popularity.present(
        catalogue.counts, catalogue.counted_at, popularity.COMMON, int(shared.clock[0]), scores
    )
    walked.ranks[e, 1] = middle_rank(scores, item, candidate)
    walked.losses[e, 1] = count_loss(scores, item, candidate, shared.calibrations[1])
