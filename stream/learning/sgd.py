"""Stochastic gradient descent on the factors of one user and one item: one step for a loss of their score.

Which loss is the affair of `explicit_sgd` and `implicit_sgd`. Rows are float32; scalars are float64.

With `adagrad`, each row divides its steps by the root of one accumulator (Duchi, Hazan and Singer 2011,
kept per row as in FBGEMM's `EXACT_ROWWISE_ADAGRAD`). For the gradient g of vector and bias together,
r + 1 components of which those not learnt count as zero:

    accumulator += |g|² / (r + 1)        step := step / (sqrt(accumulator) + 1e-8)
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from state.arrays import F32
from state.inner_product import dot
from state.prefetch import prefetch
from stream.events import Learnable
from stream.learning import refusal

EPSILON = 1e-8
"""Keeps the first AdaGrad step of a row without gradient finite."""

AHEAD_EVENTS = 4
"""How far ahead rows are prefetched; 2 to 16 measured alike."""


class Rates(NamedTuple):
    """Step sizes, penalties and limits of both kernels, as `[sgd]` and `[learning]` have them."""

    step: float
    step_bias: float
    reg: float
    reg_bias: float
    adagrad: bool
    gradient_max: float
    norm_max: float
    nonneg: bool


class Side(NamedTuple):
    """The rows of all users, or of all items.

    `vectors` float32 [capacity, r]; `biases` and `accumulators` float32 [capacity].
    """

    vectors: F32
    biases: F32
    accumulators: F32


@numba.njit(cache=True)
def clip(slope: float, limit: float) -> float:
    """`slope` within ±limit; NaN stays NaN."""
    if slope > limit:
        return limit
    if slope < -limit:
        return -limit
    return slope


@numba.njit(cache=True)
def _combine(
    x: F32, u: int, y: F32, i: int, keep_x: float, move_x: float, keep_y: float, move_y: float
) -> None:
    """x[u], y[i] := keep_x x[u] - move_x y[i], keep_y y[i] - move_y x[u], both from the old values."""
    kx, mx, ky, my = np.float32(keep_x), np.float32(move_x), np.float32(keep_y), np.float32(move_y)
    for k in range(x.shape[1]):
        old_x, old_y = x[u, k], y[i, k]
        x[u, k] = kx * old_x - mx * old_y
        y[i, k] = ky * old_y - my * old_x


@numba.njit(cache=True)
def _project(x: F32, u: int) -> None:
    """Negative components of x[u] become zero, which makes its norm no larger."""
    for k in range(x.shape[1]):
        x[u, k] = max(x[u, k], np.float32(0))


@numba.njit(cache=True)
def _plan(
    slope: float,
    own: float,
    other: float,
    cross: float,
    bias: float,
    accumulator: float,
    rank: int,
    rates: Rates,
    biased: bool,
) -> tuple[float, float, float, float, float]:
    """New (keep, move, bias, accumulator, squared norm) of one row for a loss of derivative `slope`.

    `own`, `other`, `cross`: squared norms of the row and of its partner, and their inner product.
    """
    bias_gradient = slope + rates.reg_bias * bias if biased else 0.0
    shrink = 1.0
    if rates.adagrad:
        squared = slope * slope * other + 2 * slope * rates.reg * cross + rates.reg * rates.reg * own
        accumulator += (squared + bias_gradient * bias_gradient) / (rank + 1)
        shrink = 1 / (math.sqrt(accumulator) + EPSILON)
    keep = 1 - rates.step * shrink * rates.reg
    move = rates.step * shrink * slope
    norm = keep * keep * own - 2 * keep * move * cross + move * move * other
    return keep, move, bias - rates.step_bias * shrink * bias_gradient, accumulator, norm


@numba.njit(cache=True)
def descend(
    users: Side,
    u: int,
    items: Side,
    i: int,
    slope: float,
    cross: float,
    rates: Rates,
    user_biased: bool,
    item_biased: bool,
) -> int:
    """One step of user u and item i for a loss of derivative `slope` by their score, or none of either.

    `cross`: inner product of their vectors. Returns a code of `refusal`.
    """
    x, y = users.vectors, items.vectors
    rank = x.shape[1]
    xx, yy = dot(x, u, x, u), dot(y, i, y, i)
    keep_x, move_x, bias_x, accumulator_x, norm_x = _plan(
        slope, xx, yy, cross, users.biases[u], users.accumulators[u], rank, rates, user_biased
    )
    keep_y, move_y, bias_y, accumulator_y, norm_y = _plan(
        slope, yy, xx, cross, items.biases[i], items.accumulators[i], rank, rates, item_biased
    )
    refused = max(
        refusal.code_of(norm_x, bias_x + accumulator_x, rates.norm_max),
        refusal.code_of(norm_y, bias_y + accumulator_y, rates.norm_max),
    )
    if refused == refusal.ACCEPTED:
        _combine(x, u, y, i, keep_x, move_x, keep_y, move_y)
        if rates.nonneg:
            _project(x, u)
            _project(y, i)
        users.biases[u], users.accumulators[u] = bias_x, accumulator_x
        items.biases[i], items.accumulators[i] = bias_y, accumulator_y
    return refused


@numba.njit(cache=True)
def prefetch_row(side: Side, i: int) -> None:
    """Ask for everything of row `i`."""
    prefetch(side.vectors, i)
    prefetch(side.biases, i)
    prefetch(side.accumulators, i)


@numba.njit(cache=True)
def prefetch_event(events: Learnable, e: int, users: Side, items: Side) -> None:
    """Ask for the rows of the event that comes `AHEAD_EVENTS` after event e."""
    if e + AHEAD_EVENTS < events.users.shape[0]:
        prefetch_row(users, events.users[e + AHEAD_EVENTS])
        prefetch_row(items, events.items[e + AHEAD_EVENTS])
