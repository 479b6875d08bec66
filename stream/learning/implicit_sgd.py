"""Logistic matrix factorisation by stochastic gradient descent: each like against sampled negatives."""

import math
from typing import NamedTuple

import numba
import numpy as np

from state.arrays import U8
from state.kernels import GOLDEN, below, dot, fraction, mix
from stream.events import Learnable
from stream.learning import refusal, sgd
from stream.learning.recent import Recent, remember
from stream.learning.sgd import Rates, Side


class Sampling(NamedTuple):
    """How negatives are drawn: how many a positive, from recent items with what probability, what seed."""

    negatives: int
    recent_share: float
    seed: int


@numba.njit(cache=True)
def _draw(position: np.uint64, draw: int, item_count: int, recent: Recent, sampling: Sampling) -> int:
    """The negative that (position, draw, seed) stand for, among the items there are."""
    key = mix(np.uint64(sampling.seed) + GOLDEN)
    coin = mix(mix(position ^ key) + np.uint64(draw + 1) * GOLDEN)
    choice = mix(coin + GOLDEN)
    if recent.state[1] > 0 and fraction(coin) < sampling.recent_share:
        return int(recent.items[below(choice, recent.state[1])])
    return below(choice, item_count)


@numba.njit(cache=True)
def _logistic(score: float) -> float:
    """1 / (1 + exp(-score)), without overflow."""
    small = math.exp(-abs(score))
    return 1 / (1 + small) if score >= 0 else small / (1 + small)


@numba.njit(cache=True)
def _learn_label(
    users: Side, u: int, items: Side, i: int, label: float, weight: float, rates: Rates, touched: U8
) -> int:
    """One step of logistic regression of `label` on the score b_i + x_u . y_i; a code of `refusal`."""
    cross = dot(users.vectors, u, items.vectors, i)
    slope = sgd.clip(weight * (_logistic(cross + items.biases[i]) - label), rates.gradient_max)
    refused = sgd.descend(users, u, items, i, slope, cross, rates, False, True)
    if refused == refusal.ACCEPTED:
        touched[i] = 1
    return refused


@numba.njit(cache=True)
def learn_kernel(
    events: Learnable,
    item_count: int,
    recent: Recent,
    users: Side,
    items: Side,
    rates: Rates,
    sampling: Sampling,
    refused: U8,
    touched: U8,
) -> None:
    """See `learn`."""
    negatives = np.empty(sampling.negatives, np.int64)
    known = item_count
    for e in range(events.users.shape[0]):
        sgd.prefetch_event(events, e, users, items)
        u, i, weight = events.users[e], int(events.items[e]), abs(np.float64(events.strengths[e]))
        if not math.isfinite(weight):
            refused[e] = refusal.NOT_FINITE
            continue
        if events.remove[e] or events.strengths[e] <= 0:
            refused[e] = _learn_label(users, u, items, i, 0.0, weight, rates, touched)
            continue
        known = max(known, i + 1)
        for draw in range(sampling.negatives):
            negatives[draw] = _draw(events.positions[e], draw, known, recent, sampling)
            sgd.prefetch_row(items, negatives[draw])
        worst = _learn_label(users, u, items, i, 1.0, weight, rates, touched)
        for negative in negatives:
            if negative != i:
                code = _learn_label(users, u, items, int(negative), 0.0, weight, rates, touched)
                worst = max(worst, code)
        refused[e] = worst
        remember(recent, i)


def learn(
    events: Learnable,
    item_count: int,
    recent: Recent,
    users: Side,
    items: Side,
    rates: Rates,
    sampling: Sampling,
) -> tuple[U8, U8]:
    """Learn likes against sampled negatives, and dislikes, one after the other.

    The score is b_i + x_u . y_i, the loss the binary cross-entropy of its logistic function, weighted with
    |strength|. A positive strength is one step towards 1 and one towards 0 for each negative, drawn from
    `recent` with probability `recent_share`, else from all ordinals below `item_count` and up to the largest
    liked so far; a draw of the positive itself is skipped. Any other strength, and `remove`, is one step
    towards 0. Users have no biases. What is drawn depends on the event's position, the seed, `item_count`,
    `recent` and the items liked so far only.

    `recent` remembers the positives. Returns uint8 [n] the worst code of `refusal` of each event's steps, and
    uint8 [items] with 1 for every item whose row was changed.
    """
    events.check(users, items)
    count = len(items.vectors)
    assert recent.items.dtype == recent.state.dtype == np.int64
    assert recent.times.dtype == np.int32
    assert all(array.flags.c_contiguous for array in recent)
    assert recent.state.shape == (2,)
    assert 0 <= recent.state[1] <= len(recent.items)
    assert 0 <= recent.state[0] < len(recent.items)
    assert len(recent.times) >= count
    held = recent.items[: recent.state[1]]
    assert len(held) == 0 or 0 <= held.min() <= held.max() < count
    assert 0 <= item_count <= count
    refused, touched = np.zeros(len(events.users), np.uint8), np.zeros(count, np.uint8)
    learn_kernel(events, int(item_count), recent, users, items, rates, sampling, refused, touched)
    return refused, touched
