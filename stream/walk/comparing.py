"""The models of `COMPARED` on one like: log loss and reciprocal rank among the items that all know."""

import numba
import numpy as np

from state.arrays import F32, F64, U32, Mask
from state.maps import entries_of
from state.scoring import blend, factors
from state.scoring.dislikes import disliked_of, push_down
from stream.evaluation.ranking import count_loss, middle_rank, softmax_loss
from stream.events import Learnable
from stream.learning import als
from stream.walk.values import (
    FROZEN,
    LOSS,
    RECIPROCAL_RANK,
    Frozen,
    Items,
    Options,
    Room,
    Shared,
    Users,
    Walked,
)


@numba.njit(cache=True)
def find_common(item: int, candidate: Mask, shared: Shared, room: Room) -> None:
    """Mark in `room.common` what all models know of `candidate` bool [n]; nothing unless `item` is of it."""
    if not len(shared.comparison.calibrations):
        return
    known, common = shared.comparison.frozen.interactions, room.common[: len(candidate)]
    common[:] = candidate
    if len(known):
        for other in range(len(common)):
            common[other] &= other < len(known) and known[other] > 0
    if not common[item]:
        common[:] = False


@numba.njit(cache=True)
def compare(
    e: int, model: int, item: int, scores: F64, are_counts: bool, shared: Shared, room: Room, walked: Walked
) -> None:
    """Judge an item by the scores float64 [n] of one model: log-odds, or counts."""
    calibrations, common = shared.comparison.calibrations, room.common[: len(scores)]
    if not len(calibrations) or not common[item]:
        return
    walked.compared[e, model, RECIPROCAL_RANK] = 1.0 / middle_rank(scores, item, common)
    if are_counts:
        walked.compared[e, model, LOSS] = count_loss(scores, item, common, calibrations[model])
    else:
        walked.compared[e, model, LOSS] = softmax_loss(scores, item, common, calibrations[model])


@numba.njit(cache=True)
def compare_frozen(
    e: int,
    item: int,
    events: Learnable,
    users: Users,
    items: Items,
    shared: Shared,
    options: Options,
    room: Room,
    walked: Walked,
) -> None:
    """Judge an item by the frozen model, if there is one; `room.scores` are overwritten."""
    frozen = shared.comparison.frozen
    count = len(frozen.interactions)
    if not len(shared.comparison.calibrations) or item >= count or not room.common[item]:
        return
    user, scores = events.users[e], room.scores[:count]
    history, strengths = known_to(frozen, *entries_of(users.histories, user))
    als.weigh(strengths, frozen.recency, room.of_folded)
    for j in range(len(history)):
        room.of_folded.others[j] = history[j]
    als.fold_in(len(history), frozen.catalogue.vectors, frozen.penalties, room.of_folded, room.folded)
    if options.blends:
        gap_ms = events.times_ms[e] - users.last_event_ms[user]
        known = blend.known_of(
            room.folded,
            0,
            history,
            strengths,
            gap_ms,
            frozen.catalogue,
            frozen.clock,
            options.repeats,
            items.place,
        )
        blend.score_all(frozen.catalogue, known, frozen.scalars, frozen.weights, scores)
    else:
        factors.score_all(room.folded, 0, frozen.catalogue.vectors, frozen.biases, scores)
        push_down(disliked_of(history, strengths), scores)
    compare(e, FROZEN, item, scores, False, shared, room, walked)


@numba.njit(cache=True)
def known_to(frozen: Frozen, history: U32, strengths: F32) -> tuple[U32, F32]:
    """The entries of a history whose items the frozen model knows."""
    known = np.zeros(len(history), np.bool_)
    for j in range(len(history)):
        known[j] = history[j] < len(frozen.interactions) and frozen.interactions[history[j]] > 0
    return history[known], strengths[known]
