"""Many likes and dislikes, one after the other, each as the walk learns it."""

import numba
import numpy as np

from stream.learning import implicit_sgd
from stream.learning.recent import remember


@numba.njit(cache=True)
def learn_events(events, item_count, recent, users, items, inverse_norms, descent):
    """Learn them, `item_count` items being there; codes of `refusal`, and what was touched."""
    refused = np.zeros(len(events.users), np.uint8)
    touched = np.zeros(len(items.vectors), np.uint8)
    for e in range(len(events.users)):
        refused[e] = implicit_sgd.learn(
            events.positions[e],
            events.users[e],
            int(events.items[e]),
            events.strengths[e],
            events.remove[e],
            item_count,
            recent,
            users,
            items,
            inverse_norms,
            descent,
            touched,
        )
        if events.strengths[e] > 0 and not events.remove[e]:
            remember(recent, int(events.items[e]))
    return refused, touched
