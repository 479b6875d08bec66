"""Compiled mathematics that only reads: hashes of ids and positions, inner products."""

from collections.abc import Sequence

import numba
import numpy as np

from state.arrays import F32, I32, I64, U8, U64

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Increment of SplitMix64 (Steele, Lea and Flood 2014)."""

LANES = 8
"""Partial sums of a dot product: independent, so that they overlap, and always added alike."""


@numba.njit(cache=True, inline="always")
def mix(x: np.uint64) -> np.uint64:
    """Finaliser of SplitMix64: a bijection of 64-bit integers."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True)
def fraction(hashed: np.uint64) -> float:
    """A hash as a number in [0, 1): its upper 53 bits."""
    return np.float64(hashed >> np.uint64(11)) * 2.0**-53


@numba.njit(cache=True)
def below(hashed: np.uint64, limit: int) -> int:
    """A hash as an integer in [0, limit), for limits up to 2^31: from its upper 32 bits."""
    return int(np.int64(((hashed >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)))


@numba.njit(cache=True)
def hash_bytes(buffer: U8, start: int, length: int) -> np.uint64:
    """64-bit hash of `buffer[start : start + length]`; not for use against an adversary.

    Eight bytes at a time are folded in and mixed, the length last.
    """
    h = GOLDEN
    i = start
    stop = start + length
    while i + 8 <= stop:
        word = np.uint64(0)
        for k in range(8):
            word |= np.uint64(buffer[i + k]) << np.uint64(8 * k)
        h = mix(h ^ word) + GOLDEN
        i += 8
    word = np.uint64(0)
    for k in range(stop - i):
        word |= np.uint64(buffer[i + k]) << np.uint64(8 * k)
    return mix(h ^ word ^ (np.uint64(length) << np.uint64(56)))


@numba.njit(cache=True)
def hash_spans(buffer: U8, start: I64, length: I32 | I64) -> U64:
    """`hash_bytes` of many spans of one buffer, uint64 [n]."""
    hashes = np.empty(len(start), np.uint64)
    for i in range(len(start)):
        hashes[i] = hash_bytes(buffer, start[i], length[i])
    return hashes


def spans(ids: Sequence[bytes]) -> tuple[U8, I64, I32, U64]:
    """Ids as spans of one buffer, with their hashes: (buffer, start, length, hashes)."""
    length = np.fromiter(map(len, ids), np.int32, len(ids))
    start = np.cumsum(length, dtype=np.int64) - length
    buffer = np.frombuffer(b"".join(ids), np.uint8)
    return buffer, start, length, hash_spans(buffer, start, length)


@numba.njit(cache=True)
def dot(a: F32, i: int, b: F32, j: int) -> float:
    """Inner product of a[i] and b[j]: the same bits everywhere, unlike a BLAS on several threads."""
    # Unsigned indices spare the compiled code its tests for negative ones.
    row, other, rank = np.uint64(i), np.uint64(j), np.uint64(a.shape[1])
    whole = rank - rank % np.uint64(LANES)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0)
    for k0 in range(np.uint64(0), whole, np.uint64(LANES)):
        k1, k2, k3 = k0 + np.uint64(1), k0 + np.uint64(2), k0 + np.uint64(3)
        k4, k5, k6, k7 = k0 + np.uint64(4), k0 + np.uint64(5), k0 + np.uint64(6), k0 + np.uint64(7)
        s0 += a[row, k0] * b[other, k0]
        s1 += a[row, k1] * b[other, k1]
        s2 += a[row, k2] * b[other, k2]
        s3 += a[row, k3] * b[other, k3]
        s4 += a[row, k4] * b[other, k4]
        s5 += a[row, k5] * b[other, k5]
        s6 += a[row, k6] * b[other, k6]
        s7 += a[row, k7] * b[other, k7]
    for k in range(whole, rank):
        s0 += a[row, k] * b[other, k]
    return np.float64(((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)))
