"""Gramians G = sum of x xᵀ over rows, kept exactly.

Each product x_a x_b of two float32 is exact in float64; it is rounded to a multiple of 2^-32 and
summed in int64. Integer sums are exact, so that adding and removing rows in any order gives the
bits of a rebuild. G is positive semidefinite, hence its trace bounds every entry: a trace below
`TRACE_MAX` keeps all of them below 2^62. Whoever adds a row checks that: `als` refuses the row.
"""

import numba
import numpy as np

from state.arrays import F32, I64

ONE = 4294967296.0
"""What 1.0 is as an entry: 2^32."""

TRACE_MAX = 1073741824.0
"""The trace must stay below this, in real units: 2^30."""


@numba.njit(cache=True)
def add(gram: I64, x: F32, sign: int) -> None:
    """G += sign x xᵀ, for `gram` int64 [r, r], `x` float32 [r] finite, `sign` 1 or -1."""
    for a in range(x.shape[0]):
        scaled = np.float64(x[a]) * ONE
        for b in range(x.shape[0]):
            gram[a, b] += sign * np.int64(np.rint(scaled * x[b]))


@numba.njit(cache=True)
def trace(gram: I64) -> float:
    """Trace of `gram` int64 [r, r] in real units: the sum of the squared norms of its rows."""
    total = np.int64(0)
    for a in range(gram.shape[0]):
        total += gram[a, a]
    return total / ONE


@numba.njit(cache=True)
def add_all(gram: I64, rows: F32) -> None:
    """G += sum of x xᵀ over `rows` float32 [n, r]."""
    for row in rows:
        add(gram, row, 1)
