"""Stochastic gradient descent on the factors of one user and one item at a time.

Explicit feedback: biased matrix factorisation (Paterek 2007; Koren, Bell and Volinsky 2009), as river's
`reco.BiasedMF`, whose numbers it reproduces with `adagrad = False`. Implicit feedback: logistic loss on
one positive and some sampled negatives. Rows are float32; scalars are float64.

With `adagrad`, each row divides its steps by the root of one accumulator (Duchi, Hazan and Singer 2011,
kept per row as in FBGEMM's `EXACT_ROWWISE_ADAGRAD`). For the gradient g of vector and bias together,
r + 1 components of which those not learnt count as zero:

    accumulator += |g|² / (r + 1)        step := step / (sqrt(accumulator) + 1e-8)
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from state.arrays import F32, F64, I64, U8, U64, Mask
from state.kernels import dot, mix
from state.prefetch import prefetch
from stream.learning import refusal
from stream.learning.running_mean import mean_with, mean_without

EPSILON = 1e-8
"""Keeps the first AdaGrad step of a row without gradient finite."""

AHEAD_EVENTS = 4
"""How far ahead rows are prefetched; 2 to 16 measured alike."""

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Increment of SplitMix64 (Steele, Lea and Flood 2014)."""


class Rates(NamedTuple):
    """Step sizes, penalties and limits of both kernels, as `[sgd]` and `[learning]` have them."""

    step: float
    step_bias: float
    reg: float
    reg_bias: float
    adagrad: bool
    gradient_max: float
    norm_max: float
    nonneg: bool = False


class Sampling(NamedTuple):
    """How negatives are drawn: how many a positive, from recent items with what probability, what seed."""

    negatives: int
    recent_share: float
    seed: int


class Side(NamedTuple):
    """The rows of all users, or of all items.

    `vectors` float32 [capacity, r]; `biases` and `accumulators` float32 [capacity].
    """

    vectors: F32
    biases: F32
    accumulators: F32


@numba.njit(cache=True)
def _clip(slope: float, limit: float) -> float:
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
def _refusal(norm: float, bias: float, accumulator: float, norm_max: float) -> int:
    """Whether a planned row may be: a code of `refusal`."""
    if not math.isfinite(norm + bias + accumulator):
        return refusal.NOT_FINITE
    return refusal.NORM if norm > norm_max * norm_max else refusal.ACCEPTED


@numba.njit(cache=True)
def _descend(
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
        _refusal(norm_x, bias_x, accumulator_x, rates.norm_max),
        _refusal(norm_y, bias_y, accumulator_y, rates.norm_max),
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
def _prefetch_row(side: Side, i: int) -> None:
    """Ask for everything of row `i`."""
    prefetch(side.vectors, i)
    prefetch(side.biases, i)
    prefetch(side.accumulators, i)


@numba.njit(cache=True)
def explicit_kernel(
    users: I64,
    items: I64,
    ratings: F32,
    remove: Mask,
    user_side: Side,
    item_side: Side,
    mean: F64,
    rates: Rates,
    predictions: F64,
    refused: U8,
) -> None:
    """See `explicit`."""
    for e in range(users.shape[0]):
        if e + AHEAD_EVENTS < users.shape[0]:
            _prefetch_row(user_side, users[e + AHEAD_EVENTS])
            _prefetch_row(item_side, items[e + AHEAD_EVENTS])
        u, i, rating = users[e], items[e], np.float64(ratings[e])
        cross = dot(user_side.vectors, u, item_side.vectors, i)
        deviation = np.float64(user_side.biases[u]) + item_side.biases[i] + cross
        predictions[e] = mean[0] + deviation
        if remove[e]:
            moved_mean, count = mean_without(mean, rating)
            slope = 2 * cross
        else:
            moved_mean, count = mean_with(mean, rating)
            slope = 2 * (moved_mean + deviation - rating)
        refused[e] = refusal.NOT_FINITE
        if math.isfinite(rating):
            slope = _clip(slope, rates.gradient_max)
            biased = not remove[e]
            refused[e] = _descend(user_side, u, item_side, i, slope, cross, rates, biased, biased)
        if refused[e] == refusal.ACCEPTED:
            mean[0], mean[1] = moved_mean, count


def explicit(
    users: I64,
    items: I64,
    ratings: F32,
    remove: Mask,
    user_side: Side,
    item_side: Side,
    mean: F64,
    rates: Rates,
    predictions: F64,
    refused: U8,
) -> None:
    """Learn ratings one after the other, each predicted before it is learnt.

    The prediction is mean + b_u + b_i + x_u . y_i, the loss its squared error; the mean moves before the
    gradient 2 (prediction - rating) is taken, and all four parameters move at once from their old values:
    b -= step_bias (g + reg_bias b), x_u -= step (g y_i + reg x_u), y_i likewise, |g| <= gradient_max.

    `remove` unlearns: the rating leaves the mean; the vectors take one step towards an inner product of 0
    and the biases stay. A refused event changes nothing, the mean included.

    `users`, `items` int64 [n] are rows of their side; `ratings` float32 [n]; `remove` bool [n]; `mean`
    float64 [2]: mean and count, in place; `predictions` float64 [n] (out); `refused` uint8 [n] (out): codes
    of `refusal`.
    """
    _check_events(users, items, ratings, remove, user_side, item_side, refused)
    for array in (mean, predictions):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
    assert mean.shape == (2,)
    assert predictions.shape == users.shape
    explicit_kernel(
        users, items, ratings, remove, user_side, item_side, mean, _typed(rates), predictions, refused
    )


@numba.njit(cache=True)
def _fraction(bits: np.uint64) -> float:
    """The upper 53 bits as a number in [0, 1)."""
    return np.float64(bits >> np.uint64(11)) * 2.0**-53


@numba.njit(cache=True)
def _below(bits: np.uint64, count: int) -> int:
    """The upper 32 bits as an integer in [0, count), for count < 2^31."""
    return int(((bits >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32))


@numba.njit(cache=True)
def _draw(
    position: np.uint64, draw: int, item_count: int, recent: I64, filled: int, sampling: Sampling
) -> int:
    """The negative that (position, draw, seed) stand for, among the items there are."""
    key = mix(np.uint64(sampling.seed) + GOLDEN)
    coin = mix(mix(position ^ key) + np.uint64(draw + 1) * GOLDEN)
    choice = mix(coin + GOLDEN)
    if filled > 0 and _fraction(coin) < sampling.recent_share:
        return int(recent[_below(choice, filled)])
    return _below(choice, item_count)


@numba.njit(cache=True)
def _logistic(score: float) -> float:
    """1 / (1 + exp(-score)), without overflow."""
    small = math.exp(-abs(score))
    return 1 / (1 + small) if score >= 0 else small / (1 + small)


@numba.njit(cache=True)
def _learn_label(
    user_side: Side, u: int, item_side: Side, i: int, label: float, weight: float, rates: Rates, touched: U8
) -> int:
    """One step of logistic regression of `label` on the score b_i + x_u . y_i; a code of `refusal`."""
    cross = dot(user_side.vectors, u, item_side.vectors, i)
    slope = _clip(weight * (_logistic(cross + item_side.biases[i]) - label), rates.gradient_max)
    refused = _descend(user_side, u, item_side, i, slope, cross, rates, False, True)
    if refused == refusal.ACCEPTED:
        touched[i] = 1
    return refused


@numba.njit(cache=True)
def implicit_kernel(
    users: I64,
    items: I64,
    strengths: F32,
    remove: Mask,
    positions: U64,
    item_count: int,
    recent: I64,
    ring: I64,
    user_side: Side,
    item_side: Side,
    rates: Rates,
    sampling: Sampling,
    refused: U8,
    touched: U8,
) -> None:
    """See `implicit`."""
    negatives = np.empty(sampling.negatives, np.int64)
    known = item_count
    for e in range(users.shape[0]):
        if e + AHEAD_EVENTS < users.shape[0]:
            _prefetch_row(user_side, users[e + AHEAD_EVENTS])
            _prefetch_row(item_side, items[e + AHEAD_EVENTS])
        u, i, weight = users[e], int(items[e]), abs(np.float64(strengths[e]))
        if not math.isfinite(weight):
            refused[e] = refusal.NOT_FINITE
            continue
        if remove[e] or strengths[e] <= 0:
            refused[e] = _learn_label(user_side, u, item_side, i, 0.0, weight, rates, touched)
            continue
        known = max(known, i + 1)
        for draw in range(sampling.negatives):
            negatives[draw] = _draw(positions[e], draw, known, recent, int(ring[1]), sampling)
            _prefetch_row(item_side, negatives[draw])
        worst = _learn_label(user_side, u, item_side, i, 1.0, weight, rates, touched)
        for negative in negatives:
            if negative != i:
                code = _learn_label(user_side, u, item_side, int(negative), 0.0, weight, rates, touched)
                worst = max(worst, code)
        refused[e] = worst
        if recent.shape[0] > 0:
            recent[ring[0]] = i
            ring[0] = (ring[0] + 1) % recent.shape[0]
            ring[1] = min(ring[1] + 1, recent.shape[0])


def implicit(
    users: I64,
    items: I64,
    strengths: F32,
    remove: Mask,
    positions: U64,
    item_count: int,
    recent: I64,
    ring: I64,
    user_side: Side,
    item_side: Side,
    rates: Rates,
    sampling: Sampling,
    refused: U8,
    touched: U8,
) -> None:
    """Learn likes against sampled negatives, and dislikes, one after the other.

    The score is b_i + x_u . y_i, the loss the binary cross-entropy of its logistic function, weighted with
    |strength|. A positive strength is one step towards 1 and one towards 0 for each negative, drawn from
    `recent` with probability `recent_share`, else from all ordinals below `item_count` and up to the largest
    liked so far; a draw of the positive itself is skipped. Any other strength, and `remove`, is one step
    towards 0. Users have no biases. What is drawn depends on the event's position, the seed, `item_count`,
    `recent` and the items liked so far only.

    `users` int64 [n] are rows of their side; `items` int64 [n] ordinals, which are rows of theirs;
    `strengths` float32 [n]; `remove` bool [n]; `positions` uint64 [n] hashes of the records' positions;
    `recent` int64 [R] a ring of the positives' ordinals and `ring` int64 [2] its next place and how many it
    holds, in place; `refused` uint8 [n] (out): the worst code of `refusal` of the event's steps;
    `touched` uint8 [item capacity]: set to 1 for every item whose row was changed.
    """
    _check_events(users, items, strengths, remove, user_side, item_side, refused)
    for array in (positions, recent, ring, touched):
        assert array.flags.c_contiguous
    assert positions.dtype == np.uint64
    assert positions.shape == users.shape
    assert recent.dtype == ring.dtype == np.int64
    assert ring.shape == (2,)
    assert 0 <= ring[1] <= len(recent)
    assert ring[0] == 0 or 0 <= ring[0] < len(recent)
    held = recent[: ring[1]]
    assert len(held) == 0 or 0 <= held.min() <= held.max() < len(item_side.vectors)
    assert touched.dtype == np.uint8
    assert touched.shape == (len(item_side.vectors),)
    assert 0 <= item_count <= len(item_side.vectors)
    implicit_kernel(
        users,
        items,
        strengths,
        remove,
        positions,
        int(item_count),
        recent,
        ring,
        user_side,
        item_side,
        _typed(rates),
        Sampling(int(sampling.negatives), float(sampling.recent_share), int(sampling.seed)),
        refused,
        touched,
    )


@numba.njit(cache=True)
def initial_vectors_kernel(hashes: U64, seed: int, std: float, vectors: F32) -> None:
    """See `initial_vectors`."""
    key = mix(np.uint64(seed) + GOLDEN)
    spread = std * math.sqrt(12.0)
    for i in range(hashes.shape[0]):
        state = mix(hashes[i] ^ key)
        for k in range(vectors.shape[1]):
            vectors[i, k] = spread * (_fraction(mix(state + np.uint64(k + 1) * GOLDEN)) - 0.5)


def initial_vectors(hashes: U64, rank: int, seed: int, std: float) -> F32:
    """First vectors of new rows, float32 [n, rank]: uniform numbers that follow from the id's hash.

    SplitMix64 from `hashes` uint64 [n] and `seed`; mean 0, standard deviation `std`. Normal numbers cost
    ten times as much, a third of all that a new user costs, and learn no better.
    """
    assert hashes.dtype == np.uint64
    assert hashes.ndim == 1
    assert rank > 0
    assert seed >= 0
    vectors = np.empty((len(hashes), rank), np.float32)
    initial_vectors_kernel(hashes, int(seed), float(std), vectors)
    return vectors


def _typed(rates: Rates) -> Rates:
    """The same rates with exact types, so that the kernels are compiled once."""
    step, step_bias, reg, reg_bias, adagrad, gradient_max, norm_max, nonneg = rates
    return Rates(
        float(step),
        float(step_bias),
        float(reg),
        float(reg_bias),
        bool(adagrad),
        float(gradient_max),
        float(norm_max),
        bool(nonneg),
    )


def _check_events(
    users: I64, items: I64, values: F32, remove: Mask, user_side: Side, item_side: Side, refused: U8
) -> None:
    for array, dtype in (
        (users, np.int64),
        (items, np.int64),
        (values, np.float32),
        (remove, np.bool_),
        (refused, np.uint8),
    ):
        assert array.dtype == dtype
        assert array.shape == (len(users),)
        assert array.flags.c_contiguous
    for side in (user_side, item_side):
        assert side.vectors.ndim == 2
        assert side.biases.shape == side.accumulators.shape == side.vectors.shape[:1]
        for array in side:
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
    assert user_side.vectors.shape[1] == item_side.vectors.shape[1]
    for rows, side in ((users, user_side), (items, item_side)):
        assert len(rows) == 0 or 0 <= rows.min() <= rows.max() < len(side.vectors)
    assert not np.may_share_memory(user_side.vectors, item_side.vectors)
