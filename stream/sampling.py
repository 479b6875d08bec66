"""Samples of the log that every run draws alike: a hash of where an event stands decides, and a seed."""

import numba
import numpy as np

from state.arrays import I32, I64, U64, Mask
from state.kernels import mix


@numba.njit(cache=True)
def position_hashes(partitions: I32, offsets: I64, parts: I32) -> U64:
    """A 64-bit name for each interaction: where in the log it stands, uint64 [n]."""
    hashes = np.empty(len(offsets), np.uint64)
    for i in range(len(offsets)):
        hashes[i] = mix(
            mix(np.uint64(offsets[i])) ^ np.uint64(partitions[i]) << np.uint64(32) ^ np.uint64(parts[i])
        )
    return hashes


@numba.njit(cache=True)
def sampled(positions: U64, period: int, seed: int) -> Mask:
    """Which positions (uint64 [n]) belong to the sample of one in `period`, bool [n]."""
    chosen = np.empty(len(positions), np.bool_)
    for i in range(len(positions)):
        chosen[i] = mix(positions[i] ^ np.uint64(seed)) % np.uint64(period) == 0
    return chosen
