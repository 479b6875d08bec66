"""Compiled selection of the best items."""

import numba
import numpy as np

from state.arrays import F64, I64


@numba.njit(cache=True, inline="always")
def _worse(score_a: float, slot_a: int, score_b: float, slot_b: int) -> bool:
    """Whether a ranks after b: a lower score, or the same score and a higher slot."""
    return score_a < score_b or (score_a == score_b and slot_a > slot_b)


@numba.njit(cache=True)
def _sink(heap: I64, size: int, scores: F64, at: int) -> None:
    """Restore the heap, whose root is the worst, below position `at`."""
    slot = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and _worse(scores[heap[right]], heap[right], scores[heap[child]], heap[child]):
            child = right
        if not _worse(scores[heap[child]], heap[child], scores[slot], slot):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = slot


@numba.njit(cache=True)
def top_k(scores: F64, k: int) -> I64:
    """Slots of the `k` highest scores, best first, ties by the lower slot; int64 [min(k, finite scores)].

    `scores` float64 [n]; an entry that is NaN or infinite is never chosen, so `-inf` marks what is
    left out. One pass with a heap of the best so far: O(n + m log k) for m improvements.
    """
    heap = np.empty(max(0, min(k, len(scores))), np.int64)
    room = len(heap)
    size = 0
    for slot in range(len(scores)):
        if room == 0 or not np.isfinite(scores[slot]):
            continue
        if size < room:
            heap[size] = slot
            size += 1
            if size == room:
                for at in range(size // 2 - 1, -1, -1):
                    _sink(heap, size, scores, at)
        elif scores[slot] > scores[heap[0]]:
            heap[0] = slot
            _sink(heap, size, scores, 0)
    return _unload(heap, size, scores, size == room)


@numba.njit(cache=True)
def _unload(heap: I64, size: int, scores: F64, is_heap: bool) -> I64:
    """Heap contents, best first; empties the heap."""
    if not is_heap:
        for at in range(size // 2 - 1, -1, -1):
            _sink(heap, size, scores, at)
    best = np.empty(size, np.int64)
    for left in range(size - 1, -1, -1):
        best[left] = heap[0]
        heap[0] = heap[left]
        _sink(heap, left, scores, 0)
    return best
