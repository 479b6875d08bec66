"""Biased matrix factorisation by stochastic gradient descent (Paterek 2007; Koren, Bell and Volinsky 2009).

As river's `reco.BiasedMF`, whose numbers it reproduces with `adagrad = False`.
"""

import math

import numba
import numpy as np

from state.arrays import F64, U8
from state.inner_product import dot
from stream.events import Learnable
from stream.learning import refusal, sgd
from stream.learning.running_mean import mean_with, mean_without
from stream.learning.sgd import Rates, Side


@numba.njit(cache=True)
def learn_kernel(
    events: Learnable, users: Side, items: Side, mean: F64, rates: Rates, predictions: F64, refused: U8
) -> None:
    """See `learn`."""
    for e in range(events.users.shape[0]):
        sgd.prefetch_event(events, e, users, items)
        u, i, rating = events.users[e], events.items[e], np.float64(events.strengths[e])
        cross = dot(users.vectors, u, items.vectors, i)
        deviation = np.float64(users.biases[u]) + items.biases[i] + cross
        predictions[e] = mean[0] + deviation
        if events.remove[e]:
            moved_mean, count = mean_without(mean, rating)
            slope = 2 * cross
        else:
            moved_mean, count = mean_with(mean, rating)
            slope = 2 * (moved_mean + deviation - rating)
        refused[e] = refusal.NOT_FINITE
        if math.isfinite(rating):
            slope = sgd.clip(slope, rates.gradient_max)
            biased = not events.remove[e]
            refused[e] = sgd.descend(users, u, items, i, slope, cross, rates, biased, biased)
        if refused[e] == refusal.ACCEPTED:
            mean[0], mean[1] = moved_mean, count


def learn(events: Learnable, users: Side, items: Side, mean: F64, rates: Rates) -> tuple[F64, U8]:
    """Learn ratings one after the other, each predicted before it is learnt.

    The prediction is mean + b_u + b_i + x_u . y_i, the loss its squared error; the mean moves before the
    gradient 2 (prediction - rating) is taken, and all four parameters move at once from their old values:
    b -= step_bias (g + reg_bias b), x_u -= step (g y_i + reg x_u), y_i likewise, |g| <= gradient_max.

    `remove` unlearns: the rating leaves the mean; the vectors take one step towards an inner product of 0
    and the biases stay. A refused event changes nothing, the mean included.

    Strengths are ratings; `mean` float64 [2]: mean and count, in place. Returns predictions float64 [n], and
    uint8 [n] codes of `refusal`.
    """
    events.check(users, items)
    assert mean.dtype == np.float64
    assert mean.flags.c_contiguous
    assert mean.shape == (2,)
    predictions, refused = np.zeros(len(events.users), np.float64), np.zeros(len(events.users), np.uint8)
    learn_kernel(events, users, items, mean, rates, predictions, refused)
    return predictions, refused
