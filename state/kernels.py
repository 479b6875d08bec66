"""Compiled mathematics that only reads: hashing of ids and positions."""

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@numba.njit(cache=True, inline="always")
def mix(x: np.uint64) -> np.uint64:
    """Finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection of 64-bit integers."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True)
def hash_bytes(buffer: U8, start: int, length: int) -> np.uint64:
    """64-bit hash of `buffer[start : start + length]`; not for use against an adversary.

    Eight bytes at a time are folded in and mixed, the length last.
    """
    h = np.uint64(0x9E3779B97F4A7C15)
    i = start
    stop = start + length
    while i + 8 <= stop:
        word = np.uint64(0)
        for k in range(8):
            word |= np.uint64(buffer[i + k]) << np.uint64(8 * k)
        h = mix(h ^ word) + np.uint64(0x9E3779B97F4A7C15)
        i += 8
    word = np.uint64(0)
    for k in range(stop - i):
        word |= np.uint64(buffer[i + k]) << np.uint64(8 * k)
    return mix(h ^ word ^ (np.uint64(length) << np.uint64(56)))


@numba.njit(cache=True)
def hash_spans(buffer, start, length):  # type: ignore[no-untyped-def]
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
