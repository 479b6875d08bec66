"""Streaming implicit alternating least squares: exact re-solves of touched rows.

For a target t with interactions j = 1..n of confidence w_j and target value v_j with rows y_j:

    (alpha G_y + sum w_j y_j y_jᵀ + reg (n + alpha count_y)^reg_exponent I) x_t = sum v_j y_j

Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets", with the
frequency-scaled ridge of Rendle et al. 2021, "Revisiting the performance of iALS on item
recommendation benchmarks". `implicit` is the case alpha = 1, reg_exponent = 0, w = c - 1, v = c.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from state.arrays import F32, I64, U8
from stream.learning import gramian, refusal
from stream.learning.normal_equations import BLOCK, LANES, solve, solve_nonnegative


@numba.njit(cache=True)
def _gather(
    others: I64, confidences: F32, values: F32, first: int, stop: int, y: F32, z: F32, weights: F32, x: F32
) -> int:
    """Rows of a segment into `z`, its confidences into `weights`, sum v_j y_j into `x`.

    Returns the number of rows used of `z`: the segment's, rounded up to `BLOCK` with weightless ones.
    """
    rank = y.shape[1]
    count = stop - first
    padded = (count + BLOCK - 1) // BLOCK * BLOCK
    x[:] = 0
    for j in range(count):
        row, value = others[first + j], values[first + j]
        weights[j] = confidences[first + j]
        for b in range(rank):
            z[j, b] = y[row, b]
            x[b] += value * y[row, b]
    weights[count:padded] = 0
    z[count:padded] = 0
    return padded


@numba.njit(cache=True)
def _refusal(x: F32, norm_max: float, gram: I64) -> int:
    """Whether row `x` float32 [r] may enter `gram`: a code of `refusal`."""
    squared = 0.0
    for b in range(x.shape[0]):
        squared += np.float64(x[b]) * x[b]
    if not math.isfinite(squared):
        return refusal.NOT_FINITE
    if squared > norm_max * norm_max:
        return refusal.NORM
    if gramian.trace_kernel(gram) + squared >= gramian.TRACE_MAX:
        return refusal.TRACE
    return refusal.ACCEPTED


@numba.njit(cache=True)
def _replace(rows: F32, i: int, x: F32, gram: I64) -> None:
    """rows[i] := x, and `gram` follows."""
    gramian.add_kernel(gram, rows[i], -1)
    rows[i, :] = x
    gramian.add_kernel(gram, x, 1)


class Penalties(NamedTuple):
    """What a solve weighs against the interactions, and what is refused: the settings of the same names."""

    alpha: float
    reg: float
    reg_exponent: float
    norm_max: float
    nonneg: bool


class Scratch(NamedTuple):
    """Room to solve rows of rank r with up to m interactions, w = r rounded up to `LANES`.

    `base` float32 [r, w] is alpha G; the rest is written over by every solve.
    """

    base: F32
    z: F32
    weights: F32
    a: F32
    c: F32
    x: F32


@numba.njit(cache=True)
def scratch(rank: int, longest: int) -> Scratch:
    """Scratch for histories of up to `longest` interactions."""
    width = (rank + LANES - 1) // LANES * LANES
    return Scratch(
        np.zeros((rank, width), np.float32),
        np.zeros((longest + BLOCK, width), np.float32),
        np.zeros(longest + BLOCK, np.float32),
        np.zeros((rank, width), np.float32),
        np.zeros(max(longest + BLOCK, rank), np.float32),
        np.zeros(width, np.float32),
    )


@numba.njit(cache=True)
def set_base(room: Scratch, gram_y: I64, alpha: float) -> None:
    """room.base := alpha G."""
    rank = gram_y.shape[0]
    for i in range(rank):
        for b in range(rank):
            room.base[i, b] = np.float32(alpha * (gram_y[i, b] / gramian.ONE))


@numba.njit(cache=True)
def solve_row(
    target: int,
    others: I64,
    confidences: F32,
    values: F32,
    first: int,
    stop: int,
    x: F32,
    y: F32,
    gram_x: I64,
    count_y: int,
    penalties: Penalties,
    room: Scratch,
) -> int:
    """One row of `solve_rows`, from interactions `first:stop`; `room.base` has been set. Returns the code."""
    rank = x.shape[1]
    used = _gather(others, confidences, values, first, stop, y, room.z, room.weights, room.x)
    exposure = stop - first + penalties.alpha * count_y
    ridge = np.float32(penalties.reg * exposure**penalties.reg_exponent)
    solved = True
    if stop > first and penalties.nonneg:
        z, weights, old = room.z[:used], room.weights[:used], x[target]
        solved = solve_nonnegative(room.base, z, weights, ridge, room.a, room.c, room.x, old)
    elif stop > first:
        solved = solve(room.base, room.z[:used], room.weights[:used], ridge, room.a, room.c, room.x)
    if not solved:
        return refusal.NOT_FINITE
    new = room.x[:rank]
    code = _refusal(new, penalties.norm_max, gram_x)
    if code == refusal.ACCEPTED:
        _replace(x, target, new, gram_x)
    return code


@numba.njit(cache=True)
def solve_rows_kernel(
    targets: I64,
    bounds: I64,
    others: I64,
    confidences: F32,
    values: F32,
    x: F32,
    y: F32,
    gram_x: I64,
    gram_y: I64,
    count_y: int,
    alpha: float,
    reg: float,
    reg_exponent: float,
    norm_max: float,
    refused: U8,
    nonneg: bool,
) -> None:
    """See `solve_rows`."""
    longest = 0
    for t in range(targets.shape[0]):
        longest = max(longest, bounds[t + 1] - bounds[t])
    room = scratch(x.shape[1], longest)
    set_base(room, gram_y, alpha)
    penalties = Penalties(alpha, reg, reg_exponent, norm_max, nonneg)
    for t in range(targets.shape[0]):
        refused[t] = solve_row(
            targets[t],
            others,
            confidences,
            values,
            bounds[t],
            bounds[t + 1],
            x,
            y,
            gram_x,
            count_y,
            penalties,
            room,
        )


def solve_rows(
    targets: I64,
    bounds: I64,
    others: I64,
    confidences: F32,
    values: F32,
    x: F32,
    y: F32,
    gram_x: I64,
    gram_y: I64,
    count_y: int,
    alpha: float,
    reg: float,
    reg_exponent: float,
    norm_max: float,
    refused: U8,
    nonneg: bool = False,
) -> None:
    """Solve x[targets] anew from their interactions, in place; `gram_x` stays the Gramian of x.

    `targets` int64 [n], distinct; interactions of target t are `bounds[t]:bounds[t + 1]` (int64 [n + 1])
    of `others` int64 [m] (rows of y), `confidences` and `values` float32 [m]; none gives the zero vector.
    `x` float32 [., r]; `y` float32 [., r], of which `count_y` rows are in `gram_y`; Gramians int64 [r, r].
    `refused` uint8 [n] becomes a code of `refusal`; a refused row keeps its old value.
    With `nonneg` the solution is the best one without negative components.
    Only y and `gram_y` are read, so the order of targets changes nothing (but which row is refused
    when the trace is exhausted).
    """
    rank = x.shape[1]
    assert targets.dtype == bounds.dtype == others.dtype == gram_x.dtype == gram_y.dtype == np.int64
    assert confidences.dtype == values.dtype == x.dtype == y.dtype == np.float32
    assert refused.dtype == np.uint8
    for flags in (
        targets.flags,
        others.flags,
        confidences.flags,
        values.flags,
        x.flags,
        y.flags,
        refused.flags,
    ):
        assert flags.c_contiguous
    for gram in (gram_x, gram_y):
        assert gram.flags.c_contiguous
    for gram in (gram_x, gram_y):
        assert gram.shape == (rank, rank)
    assert y.shape[1] == rank
    assert len(np.unique(targets)) == len(targets) == len(refused)
    assert len(targets) == 0 or 0 <= targets.min() <= targets.max() < len(x)
    assert len(others) == 0 or 0 <= others.min() <= others.max() < len(y)
    assert len(others) == len(confidences) == len(values)
    _check_bounds(bounds, len(targets), len(others))
    assert not np.may_share_memory(x, y)
    assert not np.may_share_memory(gram_x, gram_y)
    assert count_y >= 0
    solve_rows_kernel(
        targets,
        bounds,
        others,
        confidences,
        values,
        x,
        y,
        gram_x,
        gram_y,
        int(count_y),
        float(alpha),
        float(reg),
        float(reg_exponent),
        float(norm_max),
        refused,
        bool(nonneg),
    )


@numba.njit(cache=True)
def interaction_weights_kernel(
    bounds: I64, strengths: F32, recency: float, confidences: F32, values: F32
) -> None:
    """See `interaction_weights`."""
    for t in range(bounds.shape[0] - 1):
        decay = 1.0
        for j in range(bounds[t + 1] - 1, bounds[t] - 1, -1):
            confidences[j] = abs(strengths[j]) * decay
            values[j] = max(strengths[j], np.float32(0)) * decay
            decay *= recency


def interaction_weights(bounds: I64, strengths: F32, recency: float, confidences: F32, values: F32) -> None:
    """Confidence w and target value v of each interaction of histories that are oldest first.

    w = |s| recency^k and v = max(s, 0) recency^k for an interaction of strength s that is k steps older
    than the newest of its history: a dislike (s < 0) is a confident zero. `bounds` int64 [n + 1];
    `strengths`, `confidences` (out) and `values` (out) float32 [m]; `recency` in (0, 1].
    """
    for array in (strengths, confidences, values):
        assert array.dtype == np.float32
        assert array.shape == strengths.shape
        assert array.flags.c_contiguous
    _check_bounds(bounds, len(bounds) - 1, len(strengths))
    assert 0 < recency <= 1
    interaction_weights_kernel(bounds, strengths, float(recency), confidences, values)


def _check_bounds(bounds: I64, segments: int, length: int) -> None:
    assert bounds.dtype == np.int64
    assert bounds.flags.c_contiguous
    assert bounds.shape == (segments + 1,)
    assert bounds[0] == 0
    assert bounds[-1] == length
    assert (np.diff(bounds) >= 0).all()
