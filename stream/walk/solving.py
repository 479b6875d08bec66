"""Alternating least squares in the walk: a user after each event, items at the end of a micro-batch."""

import numba
import numpy as np

from state.maps import entries_of, find_ordinal
from state.scoring.blend import inverse_norm
from stream.learning import als
from stream.walk.values import Items, Options, Pending, Room, Shared, Users, Walked


@numba.njit(cache=True)
def solve_user(
    user: int, users: Users, items: Items, shared: Shared, options: Options, room: Room, walked: Walked
) -> None:
    """Solve a user against the items as they are."""
    history, strengths = entries_of(users.histories, user)
    als.weigh(strengths, options.recency, room.of_users)
    for j in range(len(history)):
        room.of_users.others[j] = history[j]
    code = als.solve_row(
        user,
        len(history),
        users.vectors,
        items.catalogue.vectors,
        shared.gramian_user,
        int(shared.born[1]),
        options.penalties,
        room.of_users,
    )
    walked.refused[code] += 1


@numba.njit(cache=True)
def solve_items(
    users: Users, items: Items, shared: Shared, pending: Pending, options: Options, room: Room, walked: Walked
) -> None:
    """Solve the items of the micro-batch that ends."""
    catalogue = items.catalogue
    als.set_base(room.of_items, shared.gramian_user, options.penalties.alpha)
    for p in range(pending.size[0]):
        item = pending.items[p]
        pending.is_pending[item] = False
        history, strengths = entries_of(items.histories, item)
        als.weigh(strengths, 1.0, room.of_items)
        for j in range(len(history)):
            room.of_items.others[j] = find_ordinal(np.int64(history[j]), users.ordinals, users.by_ordinal)
        code = als.solve_row(
            item,
            len(history),
            catalogue.vectors,
            users.vectors,
            shared.gramian_item,
            int(shared.born[0]),
            options.penalties,
            room.of_items,
        )
        walked.refused[code] += 1
        catalogue.inverse_norms[item] = inverse_norm(catalogue.vectors, item)
    pending.size[0] = 0
    als.set_base(room.of_users, shared.gramian_item, options.penalties.alpha)
