"""One pass over the events of a micro-batch, in order: each is ranked by what went before, then learnt.

For every event:

    1  if it is sampled: rank its item, by the live score and by popularity
    2  if it is a like: move the weights of the ranking score, the lists of neighbours, the decayed counts
       (the first like of a user moves the weights that stand for newcomers)
    3  enter it into the histories; a `remove` takes out of all of these what the like had brought
    4  under ALS: solve its user anew, against the items as of the last micro-batch

and at the end of the micro-batch, under ALS, solve its items anew. A row counts among its kind from its first
event on, although room for all rows of the pass was made before it; so a pass over several micro-batches,
whose `ends` it is told, gives the bits of as many passes over one.
"""

from typing import NamedTuple

import numba
import numpy as np

from state import maps, neighbours
from state.arrays import F32, F64, I8, I32, I64, U32, U64, Mask
from state.maps import Histories
from state.model import Model
from state.scoring import blend, factors, popularity
from state.scoring.blend import Catalogue
from stream.evaluation.ranking import candidates, count_loss, middle_rank, softmax_loss
from stream.events import Learnable
from stream.learning import als, gramian, refusal
from stream.learning import blend as learning
from stream.learning.blend import Recent, Weights
from stream.learning.popularity import count_like, take_like_back

LEARN_EVERY = 3
"""The weights are learnt from one like in so many: all of them gain less than 1 %."""

REFRESH_EVENTS = 100
"""Popularity in the live score is brought up to date this often; every 1,000 events loses 2 to 6 %."""

STEPS = 4 * neighbours.LAST
"""Steps that an event takes on the lists of neighbours, at most: a `remove` looks both ways."""

MODELS = ("live", "popularity")
"""What is ranked side by side: columns of the ranks, of the losses and of the calibrations."""


class Options(NamedTuple):
    """What is done.

    `blends`: items are ranked by the blend, else by bias + inner product; `solves`: ALS; `repeats`: items of
    the history stay candidates; `recency` of a user's history; `seed` of samples.
    """

    blends: bool
    solves: bool
    keeps_item_history: bool
    repeats: bool
    recency: float
    penalties: als.Penalties
    seed: int


class Events(NamedTuple):
    """Columns of `Learnable`, and which of them are ranked and which teach the weights: bool [n]."""

    users: I64
    items: I64
    strengths: F32
    remove: Mask
    positions: U64
    times_ms: I64
    ranked: Mask
    teaches: Mask


class Users(NamedTuple):
    """Columns of the table of users."""

    vectors: F32
    interactions: I32
    last_event_ms: I64
    ordinals: U32
    by_ordinal: I32
    histories: Histories


class Items(NamedTuple):
    """Columns of the table of items; `place` int32 [items] is scratch, -1 everywhere."""

    catalogue: Catalogue
    biases: F32
    interactions: I32
    histories: Histories
    place: I32


class Shared(NamedTuple):
    """Arrays of which there is one. `born` int64 [2] is how many users and items have had an event.

    `calibrations` float64 [models, 3]: see `stream.evaluation.ranking`.
    """

    born: I64
    clock: I64
    gramian_user: I64
    gramian_item: I64
    recent: Recent
    learnt: Weights
    of_newcomers: Weights
    calibrations: F64


class Pending(NamedTuple):
    """Items whose rows are due at the end of the micro-batch: `items` int64 [items], the first `size`[0]."""

    items: I64
    size: I64
    is_pending: Mask


class Walked(NamedTuple):
    """What came of the events.

    `kept` bool [n]: all but a `remove` of what nobody remembers; `strengths` float32 [n], for a `remove`
    that of the like taken back; `ranks` and log `losses` float64 [n, models], NaN where nothing was ranked,
    and `clocks` int64 [n] before each event; `refused` int64 [codes]: updates by code of `refusal`; and the
    first `steps`[0] steps on lists of neighbours: `owners` int64, `others` uint32, `forward` and `backward`
    int8.
    """

    kept: Mask
    strengths: F32
    ranks: F64
    losses: F64
    clocks: I64
    refused: I64
    steps: I64
    owners: I64
    others: U32
    forward: I8
    backward: I8


class Room(NamedTuple):
    """Scratch of one pass: of solves, of one history, of one ranking ([items] each)."""

    of_users: als.Scratch
    of_items: als.Scratch
    others: I64
    confidences: F32
    values: F32
    interests: F32
    scalars: F64
    scores: F64
    candidate: Mask
    refreshed_at: I64


class Walk:
    """The pass, with what it keeps between two of them. `is_due`: a micro-batch has begun and not ended."""

    def __init__(self, model: Model, options: Options) -> None:
        self._model, self._options = model, options
        self.is_due = False
        self._place = np.full(model.items_max, -1, np.int32)
        count = model.items_max if options.solves else 0
        self._pending = Pending(np.zeros(count, np.int64), np.zeros(1, np.int64), np.zeros(count, np.bool_))

    def __call__(
        self,
        events: Learnable,
        ranked: Mask,
        calibrations: F64,
        teaches: Mask,
        born: tuple[int, int],
        ends: I64,
        learns: bool,
    ) -> Walked:
        """Rank and, if it `learns`, learn the events, whose rows are resident.

        `born`: users and items there were before; after each of the numbers `ends` a micro-batch ends.
        `calibrations` float64 [models, 3] learn from what is ranked.
        """
        model = self._model
        count = len(events)
        self.is_due = not (len(ends) and ends[-1] == count)
        walked = _empty(count, self._options.blends)
        of_users = model.users.entries(count)
        of_items = model.items.entries(count if self._options.keeps_item_history else 0)
        values = model.globals
        walk(
            Events(
                events.users,
                events.items,
                events.strengths,
                events.remove,
                events.positions,
                events.times_ms,
                ranked,
                teaches,
            ),
            ends,
            Users(
                model.users.vectors,
                model.users.interactions,
                model.users.last_event_ms,
                *model.users.slot_map,
                of_users,
            ),
            Items(
                model.catalogue,
                model.items.bias,
                model.items.interactions,
                of_items,
                self._place,
            ),
            Shared(
                np.array(born, np.int64),
                values["clock"],
                values["gramian_user"],
                values["gramian_item"],
                Recent(values["recent"], values["recent_state"], model.recent_times),
                Weights(values["weights"], values["curvature"]),
                Weights(values["newcomer_weights"], values["newcomer_curvature"]),
                calibrations,
            ),
            self._pending,
            self._options,
            learns,
            walked,
        )
        return walked


def _empty(count: int, blends: bool) -> Walked:
    steps = count * STEPS if blends else 0
    return Walked(
        np.ones(count, np.bool_),
        np.zeros(count, np.float32),
        np.full((count, len(MODELS)), np.nan),
        np.full((count, len(MODELS)), np.nan),
        np.zeros(count, np.int64),
        np.zeros(refusal.CODES, np.int64),
        np.zeros(1, np.int64),
        np.empty(steps, np.int64),
        np.empty(steps, np.uint32),
        np.empty(steps, np.int8),
        np.empty(steps, np.int8),
    )


@numba.njit(cache=True)
def walk(
    events: Events,
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
    room = _room(users, items, shared, options, events)
    teaching = learns and options.blends
    end = 0
    for e in range(len(events.users) + 1):
        while end < len(ends) and ends[end] == e:
            end += 1
            if learns and options.solves:
                _solve_items(users, items, shared, pending, options, room, walked)
        if e == len(events.users):
            break
        walked.strengths[e] = events.strengths[e]
        walked.clocks[e] = shared.clock[0]
        is_like = not events.remove[e] and events.strengths[e] > 0
        if is_like and (events.ranked[e] or teaching) and items.interactions[events.items[e]] > 0:
            _like(e, events, users, items, shared, options, learns, room, walked)
        if learns:
            _enter(e, events, users, items, shared, pending, options, room, walked)


@numba.njit(cache=True)
def _room(users: Users, items: Items, shared: Shared, options: Options, events: Events) -> Room:
    rank = users.vectors.shape[1]
    longest = max(users.histories.most, items.histories.most) if options.solves else 0
    room = Room(
        als.scratch(rank, longest),
        als.scratch(rank, longest),
        np.empty(longest, np.int64),
        np.empty(longest, np.float32),
        np.empty(longest, np.float32),
        np.zeros((blend.INTERESTS, rank), np.float32),
        np.empty(_most_items(shared, events), np.float64),
        np.empty(_most_items(shared, events), np.float64),
        np.empty(_most_items(shared, events), np.bool_),
        np.full(1, -1, np.int64),
    )
    if options.solves:
        als.set_base(room.of_users, shared.gramian_item, options.penalties.alpha)
    return room


@numba.njit(cache=True)
def _most_items(shared: Shared, events: Events) -> int:
    """How many items a ranking of this pass may see, 0 if there is none."""
    most = 0
    for e in range(len(events.users)):
        if events.ranked[e]:
            most = shared.born[1] + e
    return int(most)


@numba.njit(cache=True)
def _like(
    e: int,
    events: Events,
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
    if users.interactions[user] <= 0:
        if learns and options.blends:
            _learn_newcomer(e, item, events, items, shared, options)
        return
    teaches = learns and options.blends and events.teaches[e]
    if not events.ranked[e] and not teaches:
        return
    history, strengths = _history(users.histories, user)
    if not options.repeats and learning.contains(history, item):
        return
    none = history[:0]
    excluded = none if options.repeats else history
    if not options.blends:
        _rank_by_factors(e, user, item, excluded, users, items, shared, room, walked)
        return
    catalogue, clock = items.catalogue, shared.clock[0]
    last = blend.last_liked(history, strengths)
    user_pace = blend.pace(events.times_ms[e] - users.last_event_ms[user])
    blend.interests(users.vectors, user, catalogue, last, user_pace, room.interests)
    sparse = blend.sparse_part(
        catalogue, last, history, np.float64(clock), user_pace, options.repeats, items.place
    )
    if events.ranked[e]:
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
        direction = np.empty((1, users.vectors.shape[1]), np.float32)
        blend.query(room.interests, weights, direction[0])
        blend.score_all(catalogue, direction, room.scalars, sparse, weights, room.scores[:count])
        _rank(e, item, excluded, items, shared, room, walked)
    if teaches:
        learning.learn(
            shared.learnt,
            catalogue,
            room.interests,
            sparse,
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
    e: int, item: int, events: Events, items: Items, shared: Shared, options: Options
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


@numba.njit(cache=True)
def _history(histories: Histories, slot: int):  # type: ignore[no-untyped-def]
    """Others and strengths of a history, oldest first: views."""
    start = histories.start[slot]
    stop = start + histories.length[slot]
    return histories.other[start:stop], histories.strength[start:stop]


@numba.njit(cache=True)
def _rank_by_factors(
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
    scores = room.scores[: shared.born[1]]
    factors.score_all(users.vectors, user, items.catalogue.vectors, items.biases, scores)
    _rank(e, item, excluded, items, shared, room, walked)


@numba.njit(cache=True)
def _rank(e: int, item: int, excluded: U32, items: Items, shared: Shared, room: Room, walked: Walked) -> None:
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


@numba.njit(cache=True, forceinline=True)
def _enter(
    e: int,
    events: Events,
    users: Users,
    items: Items,
    shared: Shared,
    pending: Pending,
    options: Options,
    room: Room,
    walked: Walked,
) -> None:
    """Histories, counts and neighbours follow an event, and under ALS its user."""
    user, item = events.users[e], int(events.items[e])
    if events.remove[e]:
        walked.strengths[e] = _forget(user, item, users, items, options, walked)
        walked.kept[e] = not np.isnan(walked.strengths[e])
        if not walked.kept[e]:
            return
        users.interactions[user] -= 1
        items.interactions[item] -= 1
    else:
        if users.ordinals[user] >= shared.born[0] or item >= shared.born[1]:
            _give_birth(user, item, users, items, shared, options, room)
        if events.strengths[e] > 0:
            catalogue = items.catalogue
            count_like(catalogue.counts, catalogue.counted_at, item, shared.clock[0] + 1)
            if options.blends:
                _count_neighbours(user, item, users, items, shared.recent, walked)
        maps.append_entry(users.histories, user, item, events.strengths[e])
        if options.keeps_item_history:
            maps.append_entry(items.histories, item, int(users.ordinals[user]), events.strengths[e])
        users.interactions[user] += 1
        items.interactions[item] += 1
        users.last_event_ms[user] = events.times_ms[e]
    shared.clock[0] += 1
    if room.refreshed_at[0] >= 0 and item < len(room.scalars):
        room.scalars[item] = popularity.scalar(
            items.catalogue.counts,
            items.catalogue.counted_at,
            item,
            int(shared.clock[0]),
            shared.learnt.weights[blend.POPULARITY : blend.NEIGHBOURS],
        )
    if options.solves:
        _solve_user(user, users, items, shared, options, room, walked)
        if not pending.is_pending[item]:
            pending.is_pending[item] = True
            pending.items[pending.size[0]] = item
            pending.size[0] += 1


@numba.njit(cache=True)
def _give_birth(
    user: int, item: int, users: Users, items: Items, shared: Shared, options: Options, room: Room
) -> None:
    """Count rows that have their first event, in whose order they are numbered; the Gramians follow."""
    if users.ordinals[user] >= shared.born[0]:
        shared.born[0] = np.int64(users.ordinals[user]) + 1
        if options.solves:
            gramian.add_kernel(shared.gramian_user, users.vectors[user], 1)
    if item >= shared.born[1]:
        shared.born[1] = item + 1
        if options.solves:
            gramian.add_kernel(shared.gramian_item, items.catalogue.vectors[item], 1)
            als.set_base(room.of_users, shared.gramian_item, options.penalties.alpha)


@numba.njit(cache=True)
def _count_neighbours(
    user: int, item: int, users: Users, items: Items, recent: Recent, walked: Walked
) -> None:
    """What a like does to the ring of recent items and to the lists of neighbours."""
    learning.remember(recent, item)
    history, strengths = _history(users.histories, user)
    last = blend.last_liked(history, strengths)
    for q in range(len(last)):
        _step(int(last[q]), item, neighbours.UNITS[q], items, walked)


@numba.njit(cache=True)
def _step(before: int, after: int, units: int, items: Items, walked: Walked) -> None:
    """Count, in both lists, that one item came after another; negative `units` take it back."""
    if before == after:
        return
    lists = items.catalogue.lists
    neighbours.add(lists, before, after, units, 0)
    neighbours.add(lists, after, before, 0, units)
    at = walked.steps[0]
    walked.owners[at], walked.others[at] = before, after
    walked.forward[at], walked.backward[at] = units, 0
    walked.owners[at + 1], walked.others[at + 1] = after, before
    walked.forward[at + 1], walked.backward[at + 1] = 0, units
    walked.steps[0] = at + 2


@numba.njit(cache=True)
def _forget(user: int, item: int, users: Users, items: Items, options: Options, walked: Walked):  # type: ignore[no-untyped-def]
    """Take the latest such interaction back; its strength, NaN if neither history has it.

    Histories are bounded, so one side may remember what the other does not. Weights of the ranking score
    stay as they are: no event has a part of them of its own.
    """
    place = maps.find_entry(users.histories, user, item)
    if options.blends and place >= 0:
        _take_back_neighbours(user, item, place, users, items, walked)
    found = maps.remove_entry(users.histories, user, item)
    if options.keeps_item_history:
        of_item = maps.remove_entry(items.histories, item, int(users.ordinals[user]))
        if np.isnan(found):
            found = of_item
    if found > 0:
        take_like_back(items.catalogue.counts, item)
    return found


@numba.njit(cache=True)
def _take_back_neighbours(
    user: int, item: int, place: int, users: Users, items: Items, walked: Walked
) -> None:
    """Take back what a like at `place` of a history counted with the likes before it and after it."""
    history, strengths = _history(users.histories, user)
    if not strengths[place] > 0:
        return
    last = blend.last_liked(history[:place], strengths[:place])
    for q in range(len(last)):
        _step(int(last[q]), item, -neighbours.UNITS[q], items, walked)
    back = 0
    for e in range(place + 1, len(history)):
        if strengths[e] > 0 and back < neighbours.LAST:
            _step(item, int(history[e]), -neighbours.UNITS[back], items, walked)
            back += 1


@numba.njit(cache=True)
def _solve_user(
    user: int, users: Users, items: Items, shared: Shared, options: Options, room: Room, walked: Walked
) -> None:
    history, strengths = _history(users.histories, user)
    count = len(history)
    bounds = np.array([0, count], np.int64)
    als.interaction_weights_kernel(bounds, strengths, options.recency, room.confidences, room.values)
    for j in range(count):
        room.others[j] = history[j]
    code = als.solve_row(
        user,
        room.others,
        room.confidences,
        room.values,
        0,
        count,
        users.vectors,
        items.catalogue.vectors,
        shared.gramian_user,
        int(shared.born[1]),
        options.penalties,
        room.of_users,
    )
    walked.refused[code] += 1


@numba.njit(cache=True)
def _solve_items(
    users: Users, items: Items, shared: Shared, pending: Pending, options: Options, room: Room, walked: Walked
) -> None:
    """Solve the items of the micro-batch that ends."""
    catalogue = items.catalogue
    als.set_base(room.of_items, shared.gramian_user, options.penalties.alpha)
    for p in range(pending.size[0]):
        item = pending.items[p]
        pending.is_pending[item] = False
        history, strengths = _history(items.histories, item)
        count = len(history)
        bounds = np.array([0, count], np.int64)
        als.interaction_weights_kernel(bounds, strengths, 1.0, room.confidences, room.values)
        for j in range(count):
            room.others[j] = maps.find_ordinal(np.int64(history[j]), users.ordinals, users.by_ordinal)
        code = als.solve_row(
            item,
            room.others,
            room.confidences,
            room.values,
            0,
            count,
            catalogue.vectors,
            users.vectors,
            shared.gramian_item,
            int(shared.born[0]),
            options.penalties,
            room.of_items,
        )
        walked.refused[code] += 1
        catalogue.inverse_norms[item] = blend.inverse_norm(catalogue.vectors, item)
    pending.size[0] = 0
    als.set_base(room.of_users, shared.gramian_item, options.penalties.alpha)
