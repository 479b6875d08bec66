"""Compiled mathematics that only reads: hashes of ids and positions, and draws by them."""

from collections.abc import Sequence

import numba
import numpy as np

from state.arrays import I32, I64, U8, U64

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Increment of SplitMix64 (Steele, Lea and Flood 2014)."""


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
