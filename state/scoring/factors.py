"""The score by factors, s(u, i) = b_i + x_u . y_i, twice: to the bit, and fast.

What is measured goes into the state, so it has to be the same on every machine: fixed partial sums. What is
answered does not, and BLAS is two to six times as fast. A test holds the two together.
"""

import numba

from state.arrays import F32, F64
from state.kernels import dot


@numba.njit(cache=True)
def score_all(user_vectors: F32, user: int, item_vectors: F32, item_bias: F32, out: F64) -> None:
    """Score of the first items, as many as `out` float64 [items] has room for, the same bits everywhere."""
    for item in range(len(out)):
        out[item] = item_bias[item] + dot(user_vectors, user, item_vectors, item)


def fast_scores(user_vector: F32, item_vectors: F32, item_bias: F32) -> F32:
    """Scores float32 [n] for `user_vector` float32 [r]; `item_vectors` float32 [n, r], `item_bias` [n]."""
    scores: F32 = item_vectors @ user_vector
    scores += item_bias
    return scores
