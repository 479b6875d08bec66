"""Batch ALS: many rows at once, each as the walk solves it."""

import numba
import numpy as np

from stream.learning import als, gramian


def gramian_of(rows):
    """The Gramian int64 [r, r] of `rows` float32 [n, r]."""
    total = np.zeros((rows.shape[1], rows.shape[1]), np.int64)
    for row in rows:
        gramian.add(total, row, 1)
    return total


@numba.njit(cache=True)
def solve_rows(targets, bounds, others, confidences, values, x, y, gram_x, gram_y, penalties):
    """Solve x[targets]: row t from `bounds[t]:bounds[t + 1]` of the interactions; codes of `refusal`."""
    room = als.scratch(x.shape[1], len(others))
    als.set_base(room, gram_y, penalties.alpha)
    refused = np.zeros(len(targets), np.uint8)
    for t in range(len(targets)):
        first, count = bounds[t], bounds[t + 1] - bounds[t]
        for j in range(count):
            room.others[j] = others[first + j]
            room.confidences[j] = confidences[first + j]
            room.values[j] = values[first + j]
        refused[t] = als.solve_row(targets[t], count, x, y, gram_x, len(y), penalties, room)
    return refused


@numba.njit(cache=True)
def weigh_rows(bounds, strengths, recency):
    """Confidences and values float32 [m] of the interactions of many rows."""
    room = als.scratch(1, len(strengths))
    confidences, values = np.empty_like(strengths), np.empty_like(strengths)
    for t in range(len(bounds) - 1):
        first, stop = bounds[t], bounds[t + 1]
        als.weigh(strengths[first:stop], recency, room)
        confidences[first:stop] = room.confidences[: stop - first]
        values[first:stop] = room.values[: stop - first]
    return confidences, values
