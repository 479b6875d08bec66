"""The score by factors, s(u, i) = b_i + x_u . y_i."""

import numba

from state.arrays import F32, F64, I64
from state.inner_product import dot


@numba.njit(cache=True)
def score_all(user_vectors: F32, user: int, item_vectors: F32, item_bias: F32, out: F64) -> None:
    """Score of the first items, as many as `out` float64 [items] has room for."""
    for item in range(len(out)):
        out[item] = item_bias[item] + dot(user_vectors, user, item_vectors, item)


@numba.njit(cache=True)
def score_some(user_vectors: F32, user: int, item_vectors: F32, item_bias: F32, items: I64, out: F64) -> None:
    """Score of each of `items` int64 [n], into `out` float64 [n]: the same as among all."""
    for n in range(len(items)):
        item = items[n]
        out[n] = item_bias[item] + dot(user_vectors, user, item_vectors, item)
