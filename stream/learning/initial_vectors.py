"""First vectors of new rows: they follow from the ids, so that every start makes the same ones."""

import math

import numba
import numpy as np

from state.arrays import F32, U64
from state.kernels import GOLDEN, fraction, mix


@numba.njit(cache=True)
def initial_vectors_kernel(hashes: U64, seed: int, std: float, vectors: F32) -> None:
    """See `initial_vectors`."""
    key = mix(np.uint64(seed) + GOLDEN)
    spread = std * math.sqrt(12.0)
    for i in range(hashes.shape[0]):
        state = mix(hashes[i] ^ key)
        for k in range(vectors.shape[1]):
            vectors[i, k] = spread * (fraction(mix(state + np.uint64(k + 1) * GOLDEN)) - 0.5)


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
