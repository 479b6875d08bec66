"""Why a kernel left a row as it was: the codes in the `refused` columns, and what decides them."""

import math
from collections.abc import Mapping

import numba
import numpy as np

from state.arrays import F32

ACCEPTED = 0
"""The row has its new value."""

NOT_FINITE = 1
"""The new row would hold NaN or infinity, or there is no solution."""

NORM = 2
"""The new row's Euclidean norm would exceed `learning.norm_max`."""

TRACE = 3
"""The Gramian's trace would reach `gramian.TRACE_MAX`."""

CODES = 4
"""How many there are."""

NAMES = {NOT_FINITE: "not_finite", NORM: "norm", TRACE: "trace"}
"""What they are called outside."""

REMEDY = (
    'values may be too large: for implicit feedback set learning.strength to "log" or "binary", '
    "or learning.min_value; for ratings send smaller ones"
)

REMEDIES = {
    "not_finite": REMEDY,
    "norm": f"{REMEDY}; learning.norm_max is the limit",
    "trace": f"{REMEDY}; or raise als.reg",
}
"""What to do where a row is refused, by name."""


def describe(refused: Mapping[str, int]) -> list[str]:
    """What is to be said of so many updates refused, by name."""
    return [
        f"{count:,} updates refused, rows kept as they were: {name}; {REMEDIES[name]}"
        for name, count in refused.items()
    ]


@numba.njit(cache=True)
def squared_norm(x: F32) -> float:
    """|x|² of a row float32 [r], summed in float64."""
    squared = 0.0
    for b in range(x.shape[0]):
        squared += np.float64(x[b]) * x[b]
    return squared


@numba.njit(cache=True)
def code_of(squared: float, rest: float, norm_max: float) -> int:
    """Whether a row may be, from the squared norm of its vector and the sum of its other numbers."""
    if not math.isfinite(squared + rest):
        return NOT_FINITE
    return NORM if squared > norm_max * norm_max else ACCEPTED
