"""The range of the ratings seen: `bounds` float64 [2], lowest and highest; see `state.global_arrays`."""

import numba
import numpy as np

from state.arrays import F32, F64


@numba.njit(cache=True)
def clip_seen(predictions: F64, ratings: F32, bounds: F64) -> None:
    """Bring predictions [n] within the ratings seen before each; `bounds` moves along."""
    for i in range(len(predictions)):
        if bounds[0] <= bounds[1]:
            predictions[i] = min(max(predictions[i], bounds[0]), bounds[1])
        bounds[0] = min(bounds[0], np.float64(ratings[i]))
        bounds[1] = max(bounds[1], np.float64(ratings[i]))
