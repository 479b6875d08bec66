"""Confidence intervals of means over a stream, whose events are not independent of their neighbours.

Block bootstrap (Künsch 1989, "The jackknife and the bootstrap for general stationary observations"), with
blocks that do not overlap: whole stretches of consecutive events are drawn with replacement, so that what
holds within a stretch, such as one user's visit, is kept.
"""

import numpy as np

from state.arrays import F64

BLOCK_EVENTS, BLOCKS_MAX = 100, 400
"""Least length of a block, and most blocks."""

DRAWS = 1_000
SEED = 1
COVERED = (0.025, 0.975)


def interval(values: F64) -> tuple[float, float] | None:
    """95 % interval of the mean of float64 [n], NaN left out; None for fewer than two blocks."""
    length = max(BLOCK_EVENTS, -(-len(values) // BLOCKS_MAX))
    if len(values) <= length:
        return None
    starts = np.arange(0, len(values), length)
    defined = ~np.isnan(values)
    sums = np.add.reduceat(np.where(defined, values, 0.0), starts)
    counts = np.add.reduceat(defined.astype(np.float64), starts)
    if not (counts > 0).all():
        return None
    drawn = np.random.default_rng(SEED).integers(len(starts), size=(DRAWS, len(starts)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), COVERED)
    return float(low), float(high)
