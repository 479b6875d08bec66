"""The latest events, from which samples are drawn that are as popular as items are now."""

from typing import NamedTuple

import numba

from state.arrays import I32, I64
from state.model import Model


class Recent(NamedTuple):
    """A ring of the latest events: `items` int64 [length], of which `state`[1] are filled.

    `state`[0] is the next place; `times` int32 [items] is how often each item is in the ring.
    """

    items: I64
    state: I64
    times: I32


def recent_of(model: Model) -> Recent:
    """The ring of a model, to write to."""
    return Recent(model.globals["recent"], model.globals["recent_state"], model.recent_times)


@numba.njit(cache=True)
def remember(recent: Recent, item: int) -> None:
    """Enter an event of `item` into the ring."""
    place = recent.state[0]
    if recent.state[1] == len(recent.items):
        recent.times[recent.items[place]] -= 1
    else:
        recent.state[1] += 1
    recent.items[place] = item
    recent.times[item] += 1
    recent.state[0] = (place + 1) % len(recent.items)
