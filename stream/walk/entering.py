"""What an event leaves behind once it has been judged: histories, counts, lists of neighbours, rows."""

import numba
import numpy as np

from state import neighbours
from state.maps import append_entry, entries_of, find_entry, remove_entry
from state.scoring import blend
from stream.events import Learnable
from stream.learning import als, gramian
from stream.learning.popularity import count_like, take_like_back
from stream.learning.recent import remember
from stream.walk.descending import descend
from stream.walk.judging import follow
from stream.walk.solving import solve_user
from stream.walk.values import Items, Options, Pending, Room, Shared, Users, Walked


@numba.njit(cache=True, forceinline=True)
def enter(
    e: int,
    events: Learnable,
    users: Users,
    items: Items,
    shared: Shared,
    pending: Pending,
    options: Options,
    room: Room,
    walked: Walked,
) -> None:
    """Rows, histories, counts and neighbours follow an event; under ALS its item only when it is due."""
    user, item = events.users[e], int(events.items[e])
    if events.remove[e]:
        walked.strengths[e] = _forget(user, item, users, items, options, walked)
        walked.kept[e] = not np.isnan(walked.strengths[e])
        if not walked.kept[e]:
            return
        users.interactions[user] -= 1
        items.interactions[item] -= 1
        if options.descends:
            descend(e, events, users, items, shared, options, walked)
    else:
        if users.ordinals[user] >= shared.born[0] or item >= shared.born[1]:
            _give_birth(user, item, users, items, shared, options, room)
        _take_contrary_back(user, item, events.strengths[e], users, items, options)
        if options.descends:
            descend(e, events, users, items, shared, options, walked)
        if events.strengths[e] > 0:
            catalogue = items.catalogue
            count_like(catalogue.counts, catalogue.counted_at, item, shared.clock[0] + 1)
            if options.blends or options.descends:
                remember(shared.recent, item)
            if options.blends:
                _count_neighbours(user, item, users, items, walked)
        append_entry(users.histories, user, item, events.strengths[e])
        if options.keeps_item_history:
            append_entry(items.histories, item, int(users.ordinals[user]), events.strengths[e])
        users.interactions[user] += 1
        items.interactions[item] += 1
        users.last_event_ms[user] = events.times_ms[e]
    shared.clock[0] += 1
    follow(item, items, shared)
    if options.solves:
        solve_user(user, users, items, shared, options, room, walked)
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
            gramian.add(shared.gramian_user, users.vectors[user], 1)
    if item >= shared.born[1]:
        shared.born[1] = item + 1
        if options.solves:
            gramian.add(shared.gramian_item, items.catalogue.vectors[item], 1)
            als.set_base(room.of_users, shared.gramian_item, options.penalties.alpha)


@numba.njit(cache=True)
def _take_contrary_back(
    user: int, item: int, strength: np.float32, users: Users, items: Items, options: Options
) -> None:
    """Forget what a user said of an item before and has now said otherwise.

    Of ratings that is any earlier one, else what has the other sign. Lists of neighbours stay: one was chosen
    after the other all the same.
    """
    place = find_entry(users.histories, user, item)
    while place >= 0:
        earlier = entries_of(users.histories, user)[1][place]
        if not options.rates and (earlier > 0) == (strength > 0):
            return
        _remove(user, item, users, items, options)
        users.interactions[user] -= 1
        items.interactions[item] -= 1
        place = find_entry(users.histories, user, item)


@numba.njit(cache=True)
def _count_neighbours(user: int, item: int, users: Users, items: Items, walked: Walked) -> None:
    """What a like does to the lists of neighbours."""
    history, strengths = entries_of(users.histories, user)
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
def _forget(user: int, item: int, users: Users, items: Items, options: Options, walked: Walked) -> np.float32:
    """Take the latest such interaction back; its strength, NaN if neither history has it.

    Histories are bounded, so one side may remember what the other does not. Weights of the ranking score
    stay as they are: no event has a part of them of its own.
    """
    place = find_entry(users.histories, user, item)
    if options.blends and place >= 0:
        _take_back_neighbours(user, item, place, users, items, walked)
    return _remove(user, item, users, items, options)


@numba.njit(cache=True)
def _remove(user: int, item: int, users: Users, items: Items, options: Options) -> np.float32:
    """Take the latest such interaction out of both histories and the counts; its strength, else NaN."""
    found = remove_entry(users.histories, user, item)
    if options.keeps_item_history:
        of_item = remove_entry(items.histories, item, int(users.ordinals[user]))
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
    history, strengths = entries_of(users.histories, user)
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
