"""Stochastic gradient descent in the walk: each like against sampled negatives, as soon as it was judged."""

import numba

from stream.events import Learnable
from stream.learning import implicit_sgd, sgd
from stream.learning.sgd import Side
from stream.walk.values import Items, Options, Shared, Users, Walked


@numba.njit(cache=True)
def sides(users: Users, items: Items) -> tuple[Side, Side]:
    """The rows of both sides, as descent takes them."""
    return (
        Side(users.vectors, users.biases, users.accumulators),
        Side(items.catalogue.vectors, items.biases, items.accumulators),
    )


@numba.njit(cache=True)
def prefetch(events: Learnable, e: int, users: Users, items: Items) -> None:
    """Ask for the rows of the event that comes some events after event e."""
    sgd.prefetch_event(events, e, *sides(users, items))


@numba.njit(cache=True)
def descend(
    e: int, events: Learnable, users: Users, items: Items, shared: Shared, options: Options, walked: Walked
) -> None:
    """Learn an event, whose rows count among those there are."""
    of_users, of_items = sides(users, items)
    code = implicit_sgd.learn(
        events.positions[e],
        events.users[e],
        int(events.items[e]),
        walked.strengths[e],
        events.remove[e],
        int(shared.born[1]),
        shared.recent,
        of_users,
        of_items,
        items.catalogue.inverse_norms,
        options.descent,
        walked.touched,
    )
    walked.refused[code] += 1
