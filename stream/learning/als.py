"""Streaming implicit alternating least squares: exact re-solves of touched rows.

For a target t with interactions j = 1..n of confidence w_j and target value v_j with rows y_j:

    (alpha G_y + sum w_j y_j y_jᵀ + reg (n + alpha count_y)^reg_exponent I) x_t = sum v_j y_j

Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets", with the
frequency-scaled ridge of Rendle et al. 2021, "Revisiting the performance of iALS on item
recommendation benchmarks". `implicit` is the case alpha = 1, reg_exponent = 0, w = c - 1, v = c.
"""

from typing import NamedTuple

import numba
import numpy as np

from state.arrays import F32, I64
from stream.learning import gramian, refusal
from stream.learning.normal_equations import Equations, equations, minimise


class Penalties(NamedTuple):
    """What a solve weighs against the interactions, and what is refused: the settings of the same names."""

    alpha: float
    reg: float
    reg_exponent: float
    norm_max: float
    nonneg: bool


class Scratch(NamedTuple):
    """Room to solve one row after the other.

    The interactions of a row, oldest first: `others` int64 [m] are rows of the other side, `confidences` and
    `values` float32 [m]. `equations` have alpha G as base, see `set_base`.
    """

    others: I64
    confidences: F32
    values: F32
    equations: Equations


@numba.njit(cache=True)
def scratch(rank: int, longest: int) -> Scratch:
    """Scratch for rows with up to `longest` interactions."""
    return Scratch(
        np.zeros(longest, np.int64),
        np.zeros(longest, np.float32),
        np.zeros(longest, np.float32),
        equations(rank, longest),
    )


@numba.njit(cache=True)
def set_base(room: Scratch, gram_y: I64, alpha: float) -> None:
    """The base of the equations := alpha G."""
    base = room.equations.base
    for i in range(gram_y.shape[0]):
        for b in range(gram_y.shape[0]):
            base[i, b] = np.float32(alpha * (gram_y[i, b] / gramian.ONE))


@numba.njit(cache=True)
def weigh(strengths: F32, recency: float, room: Scratch) -> None:
    """Confidence w and target value v of the interactions of a history, oldest first.

    w = |s| recency^k and v = max(s, 0) recency^k for an interaction of strength s (float32 [n]) that is k
    steps older than the newest: a dislike (s < 0) is a confident zero. `recency` in (0, 1].
    """
    decay = 1.0
    for j in range(len(strengths) - 1, -1, -1):
        room.confidences[j] = abs(strengths[j]) * decay
        room.values[j] = max(strengths[j], np.float32(0)) * decay
        decay *= recency


@numba.njit(cache=True)
def _gather(count: int, y: F32, room: Scratch) -> None:
    """The equations of the first `count` interactions: rows z, weights, and sum v_j y_j in x."""
    z, weights, x = room.equations.z, room.equations.weights, room.equations.x[0]
    x[:] = 0
    for j in range(count):
        row, value = room.others[j], room.values[j]
        weights[j] = room.confidences[j]
        for b in range(y.shape[1]):
            z[j, b] = y[row, b]
            x[b] += value * y[row, b]


@numba.njit(cache=True)
def _solve(count: int, y: F32, count_y: int, start: F32, penalties: Penalties, room: Scratch) -> bool:
    """Solve for the first `count` interactions in `room`; whether there is a solution, in `room.equations.x`.

    The search for one without negative components begins at `start` float32 [r].
    """
    _gather(count, y, room)
    exposure = count + penalties.alpha * count_y
    ridge = np.float32(penalties.reg * exposure**penalties.reg_exponent)
    return count == 0 or minimise(room.equations, count, ridge, penalties.nonneg, start)


@numba.njit(cache=True)
def fold_in(count: int, y: F32, penalties: Penalties, room: Scratch, x: F32) -> None:
    """Solve the one row of `x` float32 [1, r], of which no Gramian knows: zero where there is no solution.

    As `solve_row`, with all rows of `y` float32 [n, r] in the Gramian that `set_base` was given.
    """
    x[0, :] = 0
    if _solve(count, y, len(y), x[0], penalties, room):
        x[0, :] = room.equations.x[0, : x.shape[1]]


@numba.njit(cache=True)
def _refusal(x: F32, norm_max: float, gram: I64) -> int:
    """Whether row `x` float32 [r] may enter `gram`: a code of `refusal`."""
    squared = refusal.squared_norm(x)
    code = refusal.code_of(squared, 0.0, norm_max)
    if code == refusal.ACCEPTED and gramian.trace(gram) + squared >= gramian.TRACE_MAX:
        return refusal.TRACE
    return code


@numba.njit(cache=True)
def _replace(rows: F32, i: int, x: F32, gram: I64) -> None:
    """rows[i] := x, and `gram` follows."""
    gramian.add(gram, rows[i], -1)
    rows[i, :] = x
    gramian.add(gram, x, 1)


@numba.njit(cache=True)
def solve_row(
    target: int,
    count: int,
    x: F32,
    y: F32,
    gram_x: I64,
    count_y: int,
    penalties: Penalties,
    room: Scratch,
) -> int:
    """Solve x[target] anew from the first `count` interactions in `room`; none gives the zero vector.

    `x`, `y` float32 [., r]; of `y` are `count_y` rows in the Gramian that `set_base` was given; `gram_x`
    int64 [r, r] stays that of x. Returns a code of `refusal`; a row that is refused keeps its old value. With
    `nonneg` the solution is the best one without negative components.
    """
    if not _solve(count, y, count_y, x[target], penalties, room):
        return refusal.NOT_FINITE
    new = room.equations.x[0, : x.shape[1]]
    code = _refusal(new, penalties.norm_max, gram_x)
    if code == refusal.ACCEPTED:
        _replace(x, target, new, gram_x)
    return code
