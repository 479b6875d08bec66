"""Gramians in fixed point."""

import numpy as np
import pytest
import twins
from als_rows import gramian_of

from stream.learning import gramian


def vectors(count, rank, seed=0, scale=1.0):
    return (np.random.default_rng(seed).normal(size=(count, rank)) * scale).astype(np.float32)


@pytest.mark.parametrize(("count", "rank"), [(0, 3), (1, 1), (7, 1), (5, 4), (9, 17)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 300.0])
def test_a_gramian_agrees_with_its_twin_bit_for_bit(count, rank, scale):
    rows = vectors(count, rank, scale=scale)
    assert np.array_equal(gramian_of(rows), twins.gramian(rows))


@pytest.mark.parametrize("seed", range(5))
def test_any_sequence_of_additions_and_removals_equals_a_rebuild_bit_for_bit(seed):
    random = np.random.default_rng(seed)
    rank = int(random.integers(1, 20))
    total, held = np.zeros((rank, rank), np.int64), []
    for _ in range(150):
        if held and random.random() < 0.4:
            gramian.add(total, held.pop(int(random.integers(len(held)))), -1)
        else:
            x = (random.normal(size=rank) * 10.0 ** random.integers(-4, 2)).astype(np.float32)
            held.append(x)
            gramian.add(total, x, 1)
    rows = np.array(held, np.float32).reshape(-1, rank)
    assert np.array_equal(total, twins.gramian(rows))


def test_a_gramian_is_the_sum_of_outer_products_in_fixed_point():
    rows = vectors(50, 6)
    exact = rows.T.astype(np.float64) @ rows.astype(np.float64)
    np.testing.assert_allclose(gramian_of(rows) / gramian.ONE, exact, atol=50 * 2.0**-32)


def test_a_trace_is_the_sum_of_squared_norms():
    rows = vectors(50, 6)
    assert gramian.trace(gramian_of(rows)) == pytest.approx(np.square(rows, dtype=np.float64).sum())
