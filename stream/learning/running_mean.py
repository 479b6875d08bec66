"""The mean of all ratings as ratings come and go: `mean` float64 [2] holds it and their number."""

import numba

from state.arrays import F64


@numba.njit(cache=True)
def mean_with(mean: F64, rating: float) -> tuple[float, float]:
    """(mean, count) with one rating more."""
    count = mean[1] + 1
    return mean[0] + (rating - mean[0]) / count, count


@numba.njit(cache=True)
def mean_without(mean: F64, rating: float) -> tuple[float, float]:
    """(mean, count) with one rating fewer: the inverse of `mean_with`."""
    count = mean[1] - 1
    return (mean[0] - (rating - mean[0]) / count, count) if count > 0 else (0.0, 0.0)
