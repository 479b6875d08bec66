"""Samples of the log."""

import numpy as np
import pytest
from twins import mix

from stream.sampling import position_hashes, sampled


def test_samples_are_decided_by_a_hash_of_the_position():
    positions = position_hashes(
        np.array([1, 1, 2], np.int32), np.array([5, 6, 5]), np.array([0, 0, 3], np.int32)
    )
    assert positions.tolist() == [
        mix(mix(o) ^ (p << 32) ^ part) for p, o, part in ((1, 5, 0), (1, 6, 0), (2, 5, 3))
    ]
    many = position_hashes(np.zeros(20_000, np.int32), np.arange(20_000), np.zeros(20_000, np.int32))
    assert len(np.unique(many)) == 20_000
    for period in (1, 20):
        assert sampled(many, period, 1).mean() == pytest.approx(1 / period, rel=0.15)
    assert (sampled(many, 20, 1) != sampled(many, 20, 2)).any()
