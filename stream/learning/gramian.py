"""Gramians G = sum of x xᵀ over rows, kept exactly.

Each product x_a x_b of two float32 is exact in float64; it is rounded to a multiple of 2^-32 and
summed in int64. Integer sums are exact, so that adding and removing rows in any order gives the
bits of a rebuild. G is positive semidefinite, hence its trace bounds every entry: a trace below
`TRACE_MAX` keeps all of them below 2^62. Whoever adds a row checks that (`als` refuses the
row); the doors here assert it.
"""

import numba
import numpy as np

from state.arrays import F32, I64

ONE = 4294967296.0
"""What 1.0 is as an entry: 2^32."""

TRACE_MAX = 1073741824.0
"""The trace must stay below this, in real units: 2^30."""


@numba.njit(cache=True)
def add_kernel(gram: I64, x: F32, sign: int) -> None:
    """G += sign x xᵀ, for `gram` int64 [r, r], `x` float32 [r] finite, `sign` 1 or -1."""
    for a in range(x.shape[0]):
        scaled = np.float64(x[a]) * ONE
        for b in range(x.shape[0]):
            gram[a, b] += sign * np.int64(np.rint(scaled * x[b]))


@numba.njit(cache=True)
def trace_kernel(gram: I64) -> float:
    """Trace of `gram` int64 [r, r] in real units: the sum of the squared norms of its rows."""
    total = np.int64(0)
    for a in range(gram.shape[0]):
        total += gram[a, a]
    return total / ONE


@numba.njit(cache=True)
def rebuild_kernel(vectors: F32, count: int, gram: I64) -> None:
    """G of the first `count` rows of `vectors` float32 [n, r], into `gram` int64 [r, r]."""
    gram[:, :] = 0
    for i in range(count):
        add_kernel(gram, vectors[i], 1)


def add(gram: I64, x: F32, sign: int) -> None:
    """Checked door of `add_kernel`."""
    _check_gram(gram)
    assert x.dtype == np.float32
    assert x.shape == gram.shape[:1]
    assert sign in (1, -1)
    assert np.isfinite(x).all()
    assert trace_kernel(gram) + sign * float(np.square(x, dtype=np.float64).sum()) < TRACE_MAX
    add_kernel(gram, x, sign)


def rebuild(vectors: F32, count: int) -> I64:
    """G int64 [r, r] of the first `count` rows of `vectors` float32 [n, r]."""
    assert vectors.dtype == np.float32
    assert vectors.ndim == 2
    assert vectors.flags.c_contiguous
    assert 0 <= count <= len(vectors)
    assert np.einsum("ij,ij->", vectors[:count], vectors[:count], dtype=np.float64) < TRACE_MAX
    gram = np.empty((vectors.shape[1], vectors.shape[1]), np.int64)
    rebuild_kernel(vectors, count, gram)
    return gram


def _check_gram(gram: I64) -> None:
    assert gram.dtype == np.int64
    assert gram.ndim == 2
    assert gram.shape[0] == gram.shape[1]
    assert gram.flags.c_contiguous
