"""The latest events, from which samples are drawn that are as popular as items are now."""

from typing import NamedTuple

import numba
import numpy as np

from state.arrays import I32, I64
from state.model import Model


class Recent(NamedTuple):
    """A ring of the latest events: `items` int64 [length], of which `state`[1] are filled.

    `state`[0] is the next place; `times` int32 [items] is how often each item is in the ring.
    """

    items: I64
    state: I64
    times: I32

    def check(self, items: int) -> None:
        """Assert that it is what compiled code takes it for, and that there are that many items."""
        assert self.items.dtype == self.state.dtype == np.int64
        assert self.times.dtype == np.int32
        assert all(array.flags.c_contiguous for array in (self.items, self.state, self.times))
        assert self.state.shape == (2,)
        assert 0 <= self.state[1] <= len(self.items)
        assert 0 <= self.state[0] < len(self.items)
        assert len(self.times) >= items
        held = self.items[: self.state[1]]
        assert len(held) == 0 or 0 <= held.min() <= held.max() < items


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
