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
from state.inner_product import dot
from stream.events import Learnable
from stream.learning import refusal
from stream.learning.normal_equations import Equations, equations, minimise
from stream.learning.running_mean import mean_with, mean_without


class Penalties(NamedTuple):
    """How one side is solved, as in the equations above. An infinite `level_reg` leaves the level alone.

    A row whose norm would exceed `norm_max` is refused; with `nonneg` a row's vector is the best one without
    negative components.
    """

    reg: float
    reg_per_rating: float
    reg_bias: float
    recency: float
    level_recency: float
    level_reg: float
    norm_max: float
    nonneg: bool


class Histories(NamedTuple):
    """Ratings of the rows that n events name on one side: before the events, with room for theirs.

    `segments` int64 [n]: which segment belongs to the row of an event. Segment s has the entries
    `first[s]:stop[s]`, oldest first, and `room[s]` is where the next segment begins, all int64 [segments];
    `others` int64 [m] are rows of the other side, `ratings` float32 [m]. The latest `most` are kept.
    """

    segments: I64
    first: I64
    stop: I64
    room: I64
    others: I64
    ratings: F32
    most: int


class Side(NamedTuple):
    """All users, or all items: `vectors` float32 [rows, r], `biases` float32 [rows]."""

    vectors: F32
    biases: F32
    histories: Histories
    penalties: Penalties


@numba.njit(cache=True)
def _gather(own: Side, segment: int, other: Side, mean: float, room: Equations) -> tuple[float, float]:
    """Rows of a history into z, their weights into weights, sum w_j d_j y_j into x, s into z[count].

    Returns W and sum w_j d_j.
    """
    histories, first = own.histories, own.histories.first[segment]
    z, x, count = room.z, room.x[0], histories.stop[segment] - first
    rank = other.vectors.shape[1]
    x[:] = 0
    z[count, :] = 0
    weight = 1.0
    total_weight = total_deviation = 0.0
    for j in range(count - 1, -1, -1):
        row = histories.others[first + j]
        deviation = np.float64(histories.ratings[first + j]) - mean - other.biases[row]
        w, moved = np.float32(weight), np.float32(weight * deviation)
        room.weights[j] = w
        for b in range(rank):
            y = other.vectors[row, b]
            z[j, b] = y
            x[b] += moved * y
            z[count, b] += w * y
        total_weight += weight
        total_deviation += weight * deviation
        weight *= own.penalties.recency
    return total_weight, total_deviation


@numba.njit(cache=True)
def _level(own: Side, segment: int, biases: F32, mean: float, bias: float, room: Equations) -> float:
    """How far the newest ratings lie above what row x and `bias` predict of them, shrunk."""
    histories, first = own.histories, own.histories.first[segment]
    weight = 1.0
    total_weight, total_error = own.penalties.level_reg, 0.0
    for j in range(histories.stop[segment] - 1, first - 1, -1):
        known = mean + bias + biases[histories.others[j]]
        error = np.float64(histories.ratings[j]) - known - dot(room.z, j - first, room.x, 0)
        total_error += weight * error
        total_weight += weight
        weight *= own.penalties.level_recency
    return total_error / total_weight


@numba.njit(cache=True)
def _solve_history(own: Side, row: int, segment: int, other: Side, mean: float, room: Equations) -> float:
    """The row of a history that is not empty into room.x; returns its bias, NaN without a solution."""
    count, penalties = own.histories.stop[segment] - own.histories.first[segment], own.penalties
    z, x = room.z, room.x[0]
    weight, deviation = _gather(own, segment, other, mean, room)
    mass = weight + penalties.reg_bias
    share = np.float32(deviation / mass)
    for b in range(other.vectors.shape[1]):
        x[b] -= share * z[count, b]
    room.weights[count] = np.float32(-1 / mass)
    ridge = np.float32(penalties.reg + penalties.reg_per_rating * weight)
    if not minimise(room, count + 1, ridge, penalties.nonneg, own.vectors[row]):
        return math.nan
    bias = (deviation - dot(z, count, room.x, 0)) / mass
    if math.isinf(penalties.level_reg):
        return bias
    return bias + _level(own, segment, other.biases, mean, bias, room)


@numba.njit(cache=True)
def _remember(histories: Histories, segment: int, other: int, rating: float) -> None:
    """Append a rating to a segment, which forgets its oldest beyond the most."""
    stop = histories.stop[segment]
    histories.others[stop] = other
    histories.ratings[stop] = rating
    histories.stop[segment] = stop + 1
    if stop + 1 - histories.first[segment] > histories.most:
        histories.first[segment] += 1


@numba.njit(cache=True)
def _forget(histories: Histories, segment: int, other: int) -> float:
    """Take the latest rating of `other` out of a segment; NaN if there is none."""
    for j in range(histories.stop[segment] - 1, histories.first[segment] - 1, -1):
        if histories.others[j] == other:
            rating = float(histories.ratings[j])
            for k in range(j, histories.stop[segment] - 1):
                histories.others[k] = histories.others[k + 1]
                histories.ratings[k] = histories.ratings[k + 1]
            histories.stop[segment] -= 1
            return rating
    return math.nan


@numba.njit(cache=True)
def _solve_row(own: Side, row: int, segment: int, other: Side, mean: float, room: Equations) -> int:
    """Solve a row from its ratings; a code of `refusal`."""
    rank = own.vectors.shape[1]
    if own.histories.stop[segment] == own.histories.first[segment]:
        own.vectors[row, :] = 0
        own.biases[row] = 0
        return refusal.ACCEPTED
    bias = _solve_history(own, row, segment, other, mean, room)
    new = room.x[0, :rank]
    code = refusal.code_of(refusal.squared_norm(new), bias, own.penalties.norm_max)
    if code == refusal.ACCEPTED:
        own.vectors[row, :] = new
        own.biases[row] = bias
    return code


@numba.njit(cache=True)
def fold_in(
    others: I64,
    ratings: F32,
    vectors: F32,
    biases: F32,
    mean: float,
    penalties: Penalties,
    room: Equations,
    x: F32,
) -> float:
    """Solve the one row of `x` float32 [1, r] from ratings float32 [n], oldest first; returns its bias.

    They are of the rows `others` int64 [n] of `vectors` float32 [m, r] and `biases` float32 [m]; `room` is of
    n + 1 rows. Without ratings, and where there is no solution, the row and its bias are zero.
    """
    x[0, :] = 0
    if not len(others):
        return 0.0
    one, stop = np.zeros(1, np.int64), np.full(1, len(others))
    histories = Histories(one, one, stop, stop, others, ratings, len(others))
    own = Side(x, np.zeros(1, np.float32), histories, penalties)
    bias = _solve_history(own, 0, 0, Side(vectors, biases, histories, penalties), mean, room)
    if math.isnan(bias):
        return 0.0
    x[0, :] = room.x[0, : x.shape[1]]
    return bias


@numba.njit(cache=True)
def _longest(histories: Histories) -> int:
    """The most ratings that a segment will have."""
    longest = 0
    for s in range(histories.first.shape[0]):
        longest = max(longest, min(histories.room[s] - histories.first[s], histories.most))
    return longest


@numba.njit(cache=True)
def learn_kernel(
    events: Learnable, users: Side, items: Side, mean: F64, predictions: F64, refused: U8
) -> None:
    """See `learn`."""
    of_users, of_items = users.histories, items.histories
    room = equations(users.vectors.shape[1], max(_longest(of_users), _longest(of_items)) + 1)
    for e in range(events.users.shape[0]):
        u, i, rating = events.users[e], events.items[e], events.strengths[e]
        cross = dot(users.vectors, u, items.vectors, i)
        predictions[e] = mean[0] + users.biases[u] + items.biases[i] + cross
        refused[e] = refusal.NOT_FINITE
        if not math.isfinite(rating):
            continue
        of_user, of_item = of_users.segments[e], of_items.segments[e]
        if events.remove[e]:
            mean[0], mean[1] = mean_without(mean, rating)
            _forget(of_users, of_user, i)
            _forget(of_items, of_item, u)
        else:
            earlier = _forget(of_users, of_user, i)
            while not math.isnan(earlier):
                _forget(of_items, of_item, u)
                mean[0], mean[1] = mean_without(mean, earlier)
                earlier = _forget(of_users, of_user, i)
            mean[0], mean[1] = mean_with(mean, rating)
            _remember(of_users, of_user, i, rating)
            _remember(of_items, of_item, u, rating)
        user_refused = _solve_row(users, u, of_user, items, mean[0], room)
        item_refused = _solve_row(items, i, of_item, users, mean[0], room)
        refused[e] = max(user_refused, item_refused)


def learn(events: Learnable, users: Side, items: Side, mean: F64) -> tuple[F64, U8]:
    """Learn ratings one after the other, each predicted before anything that knows of it.

    Of each event the mean moves and the rating enters both histories, in the place of an earlier one of the
    same item by the same user, or leaves them by `remove`; then the
    user is solved against the items as they are, then the item against the users. A row without ratings
    becomes zero. How events fall into batches makes no difference.

    Strengths are ratings, for a `remove` the one that is taken back; histories as before the first event are
    brought up to date, in place; `mean` float64 [2]: mean and count, in place. Returns predictions float64
    [n], and uint8 [n] the worse of the event's two codes of `refusal`; a refused row keeps its old value, and
    a rating that is not finite changes nothing.
    """
    events.check((users.vectors, users.biases), (items.vectors, items.biases))
    assert mean.dtype == np.float64
    assert mean.shape == (2,)
    _check_histories(events.remove, users.histories, len(items.vectors))
    _check_histories(events.remove, items.histories, len(users.vectors))
    count = len(events.users)
    predictions, refused = np.zeros(count, np.float64), np.zeros(count, np.uint8)
    learn_kernel(events, users, items, mean, predictions, refused)
    return predictions, refused


def _check_histories(remove: Mask, histories: Histories, other_count: int) -> None:
    segments, first, stop, room, others, ratings, most = histories
    for array in (segments, first, stop, room, others):
        assert array.dtype == np.int64
        assert array.flags.c_contiguous
    assert ratings.dtype == np.float32
    assert ratings.flags.c_contiguous
    assert ratings.shape == others.shape
    assert segments.shape == remove.shape
    assert first.shape == stop.shape == room.shape
    assert len(segments) == 0 or 0 <= segments.min() <= segments.max() < len(first)
    assert len(others) == 0 or 0 <= others.min() <= others.max() < other_count
    added = np.bincount(segments[~remove], minlength=len(first))
    assert (first >= 0).all()
    assert (first <= stop).all()
    assert (stop + added <= room).all()
    assert (room[:-1] <= first[1:]).all()
    assert len(room) == 0 or room[-1] <= len(others)
    assert most > 0
