"""Logistic matrix factorisation by stochastic gradient descent: each like against sampled negatives."""

import math
from typing import NamedTuple

import numba
import numpy as np

from state.arrays import F32, U8
from state.inner_product import dot
from state.kernels import GOLDEN, below, fraction, mix
from state.scoring.blend import inverse_norm
from stream.learning import refusal, sgd
from stream.learning.recent import Recent
from stream.learning.sgd import Rates, Side


class Sampling(NamedTuple):
    """How negatives are drawn: how many a positive, from recent items with what probability, what seed."""

    negatives: int
    recent_share: float
    seed: int


class Descent(NamedTuple):
    """How likes are learnt."""

    rates: Rates
    sampling: Sampling


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
    users: Side,
    u: int,
    items: Side,
    i: int,
    inverse_norms: F32,
    label: float,
    weight: float,
    rates: Rates,
    touched: U8,
) -> int:
    """One step of logistic regression of `label` on the score b_i + x_u . y_i; a code of `refusal`."""
    cross = dot(users.vectors, u, items.vectors, i)
    slope = sgd.clip(weight * (_logistic(cross + items.biases[i]) - label), rates.gradient_max)
    refused = sgd.descend(users, u, items, i, slope, cross, rates, False, True)
    if refused == refusal.ACCEPTED:
        touched[i] = 1
        inverse_norms[i] = inverse_norm(items.vectors, i)
    return refused


@numba.njit(cache=True)
def learn(
    position: np.uint64,
    user: int,
    item: int,
    strength: np.float32,
    removed: bool,
    item_count: int,
    recent: Recent,
    users: Side,
    items: Side,
    inverse_norms: F32,
    descent: Descent,
    touched: U8,
) -> int:
    """Learn a like against sampled negatives, or a dislike; the worst code of `refusal` of its steps.

    The score is b_i + x_u . y_i, the loss the binary cross-entropy of its logistic function, weighted with
    |strength|. A positive strength is one step towards 1 and one towards 0 for each negative, drawn from
    `recent` with probability `recent_share`, else from all ordinals below `item_count`; a draw of the
    positive itself is skipped. Any other strength, and what is `removed`, is one step towards 0. Users have
    no biases. What is drawn depends on the event's position, the seed, `item_count` and `recent` only.

    Of every item whose row was changed `touched` uint8 [items] becomes 1, and `inverse_norms` float32 [items]
    follows its vector.
    """
    rates, sampling = descent
    weight = abs(np.float64(strength))
    if not math.isfinite(weight):
        return refusal.NOT_FINITE
    if removed or strength <= 0:
        return int(_learn_label(users, user, items, item, inverse_norms, 0.0, weight, rates, touched))
    for draw in range(sampling.negatives):
        sgd.prefetch_row(items, _draw(position, draw, item_count, recent, sampling))
    worst = _learn_label(users, user, items, item, inverse_norms, 1.0, weight, rates, touched)
    for draw in range(sampling.negatives):
        negative = _draw(position, draw, item_count, recent, sampling)
        if negative != item:
            code = _learn_label(users, user, items, negative, inverse_norms, 0.0, weight, rates, touched)
            worst = max(worst, code)
    return int(worst)
