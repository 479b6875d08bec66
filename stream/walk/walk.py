"""One pass over the events of a micro-batch, in order: each is ranked by what went before, then learnt.

For every event:

    1  if it is sampled: rank its item, by the live score and by popularity; compare what is to be compared
    2  if it is a like: move the weights of the ranking score, the lists of neighbours, the decayed counts
       (the first like of a user moves the weights that stand for newcomers)
    3  enter it into the histories; a `remove` takes out of all of these what the like had brought
    4  under ALS: solve its user anew, against the items as of the last micro-batch; under SGD: take its steps

and at the end of the micro-batch, under ALS, solve its items anew. A row counts among its kind from its first
event on, although room for all rows of the pass was made before it; so a pass over several micro-batches,
whose `ends` it is told, gives the bits of as many passes over one.
"""

import numba
import numpy as np

from state.arrays import F64, I64
from state.maps import entries_of
from state.model import Model
from state.scoring import blend
from stream.events import Learnable
from stream.learning import als
from stream.learning import blend as learning
from stream.learning.normal_equations import equations
from stream.learning.recent import recent_of
from stream.walk.comparing import compare_frozen
from stream.walk.descending import prefetch
from stream.walk.entering import enter
from stream.walk.judging import judge_by_blend, judge_by_factors, judge_for_newcomer
from stream.walk.rating import compare_ratings
from stream.walk.solving import solve_items
from stream.walk.values import (
    COMPARED,
    Chosen,
    Comparison,
    Items,
    Options,
    Pending,
    Room,
    Shared,
    Users,
    Walked,
    items_of,
    no_items_pending,
    no_scalars,
    nothing_walked,
    shared_of,
    users_of,
)

LEARN_EVERY = 3
"""The weights are learnt from one like in so many: all of them gain less than 1 %."""


class Walk:
    """The pass, with what it keeps between two of them.

    `is_due`: a micro-batch has begun and not ended; `scalars`: see there.
    """

    def __init__(self, model: Model, options: Options) -> None:
        self._model, self._options = model, options
        self.is_due = False
        self.scalars = no_scalars(model.items_max)
        self._place = np.full(model.items_max, -1, np.int32)
        self._pending = no_items_pending(model.items_max if options.solves else 0)

    def forget_scalars(self) -> None:
        """Have them computed when they are needed next, whatever this process walked over before."""
        self.scalars.refreshed_at[:] = -1

    def __call__(
        self,
        events: Learnable,
        chosen: Chosen,
        calibrations: F64,
        comparison: Comparison,
        born: tuple[int, int],
        ends: I64,
        learns: bool,
    ) -> Walked:
        """Rank and, if it `learns`, learn the events, whose rows are resident.

        `born`: users and items there were before; after each of the numbers `ends` a micro-batch ends. As
        many of `MODELS` are judged as there are `calibrations` float64 [models, 3], which learn from that;
        those of the `comparison` too.
        """
        model, count, options = self._model, len(events.users), self._options
        events.check(
            *([table.vectors, table.bias, table.accumulator] for table in (model.users, model.items))
        )
        recent_of(model).check(model.item_count)
        for choice in (chosen.ranked, chosen.teaches):
            assert choice.dtype == np.bool_
            assert choice.shape == events.users.shape
        self.is_due = not (len(ends) and ends[-1] == count)
        compared = len(COMPARED) if comparison.compares else 0
        walked = nothing_walked(count, model.item_count, len(calibrations), compared, options)
        walk(
            events,
            chosen,
            ends,
            users_of(model, count),
            items_of(model, count if options.keeps_item_history else 0, self._place),
            shared_of(model, born, calibrations, comparison, self.scalars),
            self._pending,
            options,
            learns,
            walked,
        )
        return walked


@numba.njit(cache=True)
def walk(
    events: Learnable,
    chosen: Chosen,
    ends: I64,
    users: Users,
    items: Items,
    shared: Shared,
    pending: Pending,
    options: Options,
    learns: bool,
    walked: Walked,
) -> None:
    """See `Walk`."""
    room = _room(users, items, shared, options, chosen)
    teaching = learns and options.blends
    end = 0
    for e in range(len(events.users) + 1):
        while end < len(ends) and ends[end] == e:
            end += 1
            if learns and options.solves:
                solve_items(users, items, shared, pending, options, room, walked)
        if e == len(events.users):
            break
        if learns and options.descends:
            prefetch(events, e, users, items)
        walked.strengths[e] = events.strengths[e]
        walked.clocks[e] = shared.clock[0]
        is_like = not events.remove[e] and events.strengths[e] > 0
        if is_like and (chosen.ranked[e] or teaching):
            _like(e, events, chosen, users, items, shared, options, learns, room, walked)
        if options.rates and shared.comparison.compares and chosen.ranked[e]:
            compare_ratings(e, events, users, items, shared, room, walked)
        if learns:
            enter(e, events, users, items, shared, pending, options, room, walked)


@numba.njit(cache=True)
def _room(users: Users, items: Items, shared: Shared, options: Options, chosen: Chosen) -> Room:
    rank = users.vectors.shape[1]
    longest = max(users.histories.most, items.histories.most) if options.solves else 0
    frozen, most_items = shared.comparison.frozen, _most_items(shared, chosen)
    folds_in = len(frozen.interactions) > 0 and most_items > 0
    room = Room(
        als.scratch(rank, longest),
        als.scratch(rank, longest),
        als.scratch(rank, users.histories.most if folds_in and not options.rates else 0),
        equations(rank, users.histories.most + 1 if folds_in and options.rates else 0),
        np.empty(most_items, np.float64),
        np.empty(most_items, np.bool_),
        np.empty(most_items, np.bool_),
        np.empty((1, rank), np.float32),
    )
    if folds_in:
        als.set_base(room.of_folded, frozen.gramian, frozen.penalties.alpha)
    if options.solves:
        als.set_base(room.of_users, shared.gramian_item, options.penalties.alpha)
    return room


@numba.njit(cache=True)
def _most_items(shared: Shared, chosen: Chosen) -> int:
    """How many items a ranking of this pass may see, 0 if there is none."""
    most = 0
    for e in range(len(chosen.ranked)):
        if chosen.ranked[e]:
            most = shared.born[1] + e
    return int(most)


@numba.njit(cache=True)
def _like(
    e: int,
    events: Learnable,
    chosen: Chosen,
    users: Users,
    items: Items,
    shared: Shared,
    options: Options,
    learns: bool,
    room: Room,
    walked: Walked,
) -> None:
    """Rank the item of a like, and let the like teach the weights of the ranking score."""
    user, item = events.users[e], events.items[e]
    is_newcomer = users.interactions[user] <= 0
    history, strengths = entries_of(users.histories, user)
    none = history[:0]
    excluded = none if options.repeats or is_newcomer else history
    if items.interactions[item] <= 0 or learning.contains(excluded, item):
        if chosen.cold and chosen.ranked[e]:
            walked.ranks[e, 0] = np.inf
        return
    if is_newcomer:
        if chosen.cold and chosen.ranked[e]:
            judge_for_newcomer(e, item, options.blends, items, shared, room, walked)
        if learns and options.blends:
            _learn_newcomer(e, item, events, items, shared, options)
        return
    teaches = learns and options.blends and chosen.teaches[e]
    if not chosen.ranked[e] and not teaches:
        return
    if not options.blends:
        judge_by_factors(e, user, item, excluded, users, items, shared, room, walked)
        compare_frozen(e, item, events, users, items, shared, options, room, walked)
        return
    catalogue, clock = items.catalogue, shared.clock[0]
    gap_ms = events.times_ms[e] - users.last_event_ms[user]
    known = blend.known_of(
        users.vectors, user, history, strengths, gap_ms, catalogue, clock, options.repeats, items.place
    )
    if chosen.ranked[e]:
        judge_by_blend(e, item, excluded, known, items, shared, room, walked)
        compare_frozen(e, item, events, users, items, shared, options, room, walked)
    if teaches:
        learning.learn(
            shared.learnt,
            catalogue,
            known,
            item,
            excluded,
            clock,
            int(shared.born[1]),
            shared.recent,
            events.positions[e],
            options.seed,
            items.place,
        )


@numba.njit(cache=True)
def _learn_newcomer(
    e: int, item: int, events: Learnable, items: Items, shared: Shared, options: Options
) -> None:
    """Let the first like of a user teach what newcomers like."""
    learning.learn_newcomer(
        shared.of_newcomers,
        items.catalogue,
        item,
        shared.clock[0],
        int(shared.born[1]),
        shared.recent,
        events.positions[e],
        options.seed,
        items.place,
    )
