"""Streaming explicit alternating least squares with biases: ratings predicted, then their rows solved anew.

A rating is predicted as mean + b_u + b_i + x_u . y_i. For a target t whose ratings r_j, the k-th newest of
weight w_j = recency^k, belong to rows of vector y_j and bias b_j, with W = sum w_j, its bias c_t and
vector x_t minimise (Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems")

    sum w_j (r_j - mean - b_j - c_t - x_t . y_j)² + reg_bias c_t² + (reg + reg_per_rating W) |x_t|²

People's level drifts while they rate. So what is left of the newest ratings, e_j = r_j - prediction with
v_j = level_recency^k, then moves the bias by sum v_j e_j / (level_reg + sum v_j).

The bias is eliminated before the solve: it is (sum w_j d_j - s . x_t) / (W + reg_bias) for d_j = r_j - mean
- b_j and s = sum w_j y_j, which leaves equations in x_t with one row more, s, of weight -1 / (W + reg_bias).
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from state.arrays import F32, F64, I64, U8, Mask
from state.kernels import dot
from stream.learning import refusal
from stream.learning.normal_equations import BLOCK, LANES, solve, solve_nonnegative
from stream.learning.running_mean import mean_with, mean_without


class Penalties(NamedTuple):
    """How one side is solved, as in the equations above. An infinite `level_reg` leaves the level alone."""

    reg: float
    reg_per_rating: float
    reg_bias: float
    recency: float
    level_recency: float
    level_reg: float


class Side(NamedTuple):
    """The rows of all users, or of all items: `vectors` float32 [rows, r], `biases` float32 [rows]."""

    vectors: F32
    biases: F32


class Histories(NamedTuple):
    """Ratings of the rows that n events name on one side: before the events, with room for theirs.

    `segments` int64 [n]: which segment belongs to the row of an event. Segment s has the entries
    `first[s]:stop[s]`, oldest first, and `room[s]` is where the next segment begins, all int64 [segments];
    `others` int64 [m] are rows of the other side, `ratings` float32 [m].
    """

    segments: I64
    first: I64
    stop: I64
    room: I64
    others: I64
    ratings: F32


class _Scratch(NamedTuple):
    """Room for one solve; see `normal_equations.solve`, whose x is the one row of `x`."""

    base: F32
    a: F32
    z: F32
    weights: F32
    c: F32
    x: F32


@numba.njit(cache=True)
def _scratch(rank: int, longest: int) -> _Scratch:
    """Room for solves of up to `longest` ratings."""
    width = (rank + LANES - 1) // LANES * LANES
    rows = longest + 1 + BLOCK
    return _Scratch(
        np.zeros((rank, width), np.float32),
        np.zeros((rank, width), np.float32),
        np.zeros((rows, width), np.float32),
        np.zeros(rows, np.float32),
        np.zeros(max(rows, rank), np.float32),
        np.zeros((1, width), np.float32),
    )


@numba.njit(cache=True)
def _gather(
    histories: Histories, first: int, stop: int, other: Side, mean: float, recency: float, scratch: _Scratch
) -> tuple[float, float]:
    """Rows of a history into z, their weights into weights, sum w_j d_j y_j into x, s into z[stop - first].

    Returns W and sum w_j d_j.
    """
    z, x, count = scratch.z, scratch.x[0], stop - first
    rank = other.vectors.shape[1]
    x[:] = 0
    z[count, :] = 0
    weight = 1.0
    total_weight = total_deviation = 0.0
    for j in range(count - 1, -1, -1):
        row = histories.others[first + j]
        deviation = np.float64(histories.ratings[first + j]) - mean - other.biases[row]
        w, moved = np.float32(weight), np.float32(weight * deviation)
        scratch.weights[j] = w
        for b in range(rank):
            y = other.vectors[row, b]
            z[j, b] = y
            x[b] += moved * y
            z[count, b] += w * y
        total_weight += weight
        total_deviation += weight * deviation
        weight *= recency
    return total_weight, total_deviation


@numba.njit(cache=True)
def _level(
    histories: Histories,
    first: int,
    stop: int,
    biases: F32,
    mean: float,
    bias: float,
    penalties: Penalties,
    scratch: _Scratch,
) -> float:
    """How far the newest ratings lie above what row x and `bias` predict of them, shrunk."""
    weight = 1.0
    total_weight, total_error = penalties.level_reg, 0.0
    for j in range(stop - 1, first - 1, -1):
        known = mean + bias + biases[histories.others[j]]
        error = np.float64(histories.ratings[j]) - known - dot(scratch.z, j - first, scratch.x, 0)
        total_error += weight * error
        total_weight += weight
        weight *= penalties.level_recency
    return total_error / total_weight


@numba.njit(cache=True)
def _solve_history(
    histories: Histories,
    first: int,
    stop: int,
    other: Side,
    mean: float,
    penalties: Penalties,
    nonneg: bool,
    old: F32,
    scratch: _Scratch,
) -> float:
    """The row of a history that is not empty into scratch.x; returns its bias, NaN without a solution."""
    count = stop - first
    rank = other.vectors.shape[1]
    z, x = scratch.z, scratch.x[0]
    weight, deviation = _gather(histories, first, stop, other, mean, penalties.recency, scratch)
    mass = weight + penalties.reg_bias
    share = np.float32(deviation / mass)
    for b in range(rank):
        x[b] -= share * z[count, b]
    scratch.weights[count] = np.float32(-1 / mass)
    padded = (count + BLOCK) // BLOCK * BLOCK
    scratch.weights[count + 1 : padded] = 0
    z[count + 1 : padded] = 0
    ridge = np.float32(penalties.reg + penalties.reg_per_rating * weight)
    rows, weights = z[:padded], scratch.weights[:padded]
    if nonneg:
        solved = solve_nonnegative(scratch.base, rows, weights, ridge, scratch.a, scratch.c, x, old)
    else:
        solved = solve(scratch.base, rows, weights, ridge, scratch.a, scratch.c, x)
    if not solved:
        return math.nan
    bias = (deviation - dot(z, count, scratch.x, 0)) / mass
    if math.isinf(penalties.level_reg):
        return bias
    return bias + _level(histories, first, stop, other.biases, mean, bias, penalties, scratch)


@numba.njit(cache=True)
def _remember(histories: Histories, segment: int, other: int, rating: float, history_max: int) -> None:
    """Append a rating to a segment, which forgets its oldest beyond `history_max`."""
    stop = histories.stop[segment]
    histories.others[stop] = other
    histories.ratings[stop] = rating
    histories.stop[segment] = stop + 1
    if stop + 1 - histories.first[segment] > history_max:
        histories.first[segment] += 1


@numba.njit(cache=True)
def _forget(histories: Histories, segment: int, other: int) -> None:
    """Take the latest rating of `other` out of a segment, if there is one."""
    for j in range(histories.stop[segment] - 1, histories.first[segment] - 1, -1):
        if histories.others[j] == other:
            for k in range(j, histories.stop[segment] - 1):
                histories.others[k] = histories.others[k + 1]
                histories.ratings[k] = histories.ratings[k + 1]
            histories.stop[segment] -= 1
            return


@numba.njit(cache=True)
def _solve_row(
    own: Side,
    row: int,
    other: Side,
    histories: Histories,
    segment: int,
    mean: float,
    penalties: Penalties,
    norm_max: float,
    nonneg: bool,
    scratch: _Scratch,
) -> int:
    """Solve a row from its ratings; a code of `refusal`."""
    first, stop = histories.first[segment], histories.stop[segment]
    if stop == first:
        own.vectors[row, :] = 0
        own.biases[row] = 0
        return refusal.ACCEPTED
    old = own.vectors[row]
    bias = _solve_history(histories, first, stop, other, mean, penalties, nonneg, old, scratch)
    squared = 0.0
    for b in range(own.vectors.shape[1]):
        squared += np.float64(scratch.x[0, b]) * scratch.x[0, b]
    if not math.isfinite(squared + bias):
        return refusal.NOT_FINITE
    if squared > norm_max * norm_max:
        return refusal.NORM
    own.vectors[row, :] = scratch.x[0, : own.vectors.shape[1]]
    own.biases[row] = bias
    return refusal.ACCEPTED


@numba.njit(cache=True)
def learn_kernel(
    users: I64,
    items: I64,
    ratings: F32,
    remove: Mask,
    user_side: Side,
    item_side: Side,
    user_histories: Histories,
    item_histories: Histories,
    history_max: int,
    mean: F64,
    user_penalties: Penalties,
    item_penalties: Penalties,
    norm_max: float,
    predictions: F64,
    refused: U8,
    nonneg: bool,
) -> None:
    """See `learn`."""
    longest = 0
    for histories in (user_histories, item_histories):
        for s in range(histories.first.shape[0]):
            longest = max(longest, min(histories.room[s] - histories.first[s], history_max))
    scratch = _scratch(user_side.vectors.shape[1], longest)
    for e in range(users.shape[0]):
        u, i, rating = users[e], items[e], ratings[e]
        cross = dot(user_side.vectors, u, item_side.vectors, i)
        predictions[e] = mean[0] + user_side.biases[u] + item_side.biases[i] + cross
        refused[e] = refusal.NOT_FINITE
        if not math.isfinite(rating):
            continue
        of_user, of_item = user_histories.segments[e], item_histories.segments[e]
        if remove[e]:
            mean[0], mean[1] = mean_without(mean, rating)
            _forget(user_histories, of_user, i)
            _forget(item_histories, of_item, u)
        else:
            mean[0], mean[1] = mean_with(mean, rating)
            _remember(user_histories, of_user, i, rating, history_max)
            _remember(item_histories, of_item, u, rating, history_max)
        user_refused = _solve_row(
            user_side,
            u,
            item_side,
            user_histories,
            of_user,
            mean[0],
            user_penalties,
            norm_max,
            nonneg,
            scratch,
        )
        item_refused = _solve_row(
            item_side,
            i,
            user_side,
            item_histories,
            of_item,
            mean[0],
            item_penalties,
            norm_max,
            nonneg,
            scratch,
        )
        refused[e] = max(user_refused, item_refused)


def learn(
    users: I64,
    items: I64,
    ratings: F32,
    remove: Mask,
    user_side: Side,
    item_side: Side,
    user_histories: Histories,
    item_histories: Histories,
    history_max: int,
    mean: F64,
    user_penalties: Penalties,
    item_penalties: Penalties,
    norm_max: float,
    predictions: F64,
    refused: U8,
    nonneg: bool = False,
) -> None:
    """Learn ratings one after the other, each predicted before anything that knows of it.

    Of each event the mean moves and the rating enters both histories, or leaves them by `remove`; then the
    user is solved against the items as they are, then the item against the users. A row without ratings
    becomes zero. How events fall into batches makes no difference.

    `users`, `items` int64 [n] are rows of their side; `ratings` float32 [n], for a `remove` (bool [n]) the
    one that is taken back; histories as before the first event are brought up to date, in place, the latest
    `history_max` ratings of each row; `mean` float64 [2]: mean and count, in place; `predictions` float64
    [n] (out); `refused` uint8 [n] (out): the worse of the event's two codes of `refusal`; a refused
    row keeps its old value, and a rating that is not finite changes nothing. With `nonneg` a row's vector is
    the best one without negative components.
    """
    for column, dtype in (
        (users, np.int64),
        (items, np.int64),
        (ratings, np.float32),
        (remove, np.bool_),
        (predictions, np.float64),
        (refused, np.uint8),
    ):
        assert column.dtype == dtype
        assert column.shape == users.shape
        assert column.flags.c_contiguous
    assert mean.dtype == np.float64
    assert mean.shape == (2,)
    assert history_max > 0
    for rows, side, histories in ((users, user_side, user_histories), (items, item_side, item_histories)):
        _check_side(rows, side)
        _check_histories(remove, histories)
    for side, histories in ((user_side, item_histories), (item_side, user_histories)):
        others = histories.others
        assert len(others) == 0 or 0 <= others.min() <= others.max() < len(side.vectors)
    assert user_side.vectors.shape[1] == item_side.vectors.shape[1]
    assert not np.may_share_memory(user_side.vectors, item_side.vectors)
    learn_kernel(
        users,
        items,
        ratings,
        remove,
        user_side,
        item_side,
        user_histories,
        item_histories,
        int(history_max),
        mean,
        Penalties(*map(float, user_penalties)),
        Penalties(*map(float, item_penalties)),
        float(norm_max),
        predictions,
        refused,
        bool(nonneg),
    )


def _check_side(rows: I64, side: Side) -> None:
    assert side.vectors.ndim == 2
    assert side.biases.shape == side.vectors.shape[:1]
    for array in side:
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
    assert len(rows) == 0 or 0 <= rows.min() <= rows.max() < len(side.vectors)


def _check_histories(remove: Mask, histories: Histories) -> None:
    segments, first, stop, room, others, ratings = histories
    for array in histories[:-1]:
        assert array.dtype == np.int64
        assert array.flags.c_contiguous
    assert ratings.dtype == np.float32
    assert ratings.flags.c_contiguous
    assert ratings.shape == others.shape
    assert segments.shape == remove.shape
    assert first.shape == stop.shape == room.shape
    assert len(segments) == 0 or 0 <= segments.min() <= segments.max() < len(first)
    added = np.bincount(segments[~remove], minlength=len(first))
    assert (first >= 0).all()
    assert (first <= stop).all()
    assert (stop + added <= room).all()
    assert (room[:-1] <= first[1:]).all()
    assert len(room) == 0 or room[-1] <= len(others)
