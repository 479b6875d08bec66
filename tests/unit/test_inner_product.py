"""The inner product: its order of addition, compiled and not, to the bit."""

import numba
import numpy as np
import pytest

from state.inner_product import LANES, dot


@numba.njit
def compiled(a, i, b, j):
    return dot(a, i, b, j)


def slow_dot(x, y):
    """Every product to its partial sum, one after the other, in float32."""
    sums = [np.float32(0)] * LANES
    whole = len(x) - len(x) % LANES
    for k, (one, other) in enumerate(zip(x, y, strict=True)):
        place = k % LANES if k < whole else 0
        sums[place] = sums[place] + one * other
    while len(sums) > 1:
        sums = [sums[n] + sums[n + 1] for n in range(0, len(sums), 2)]
    return float(sums[0])


@pytest.mark.parametrize("rank", [1, 2, 7, 8, 9, 15, 16, 32, 65, 512])
@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_every_form_adds_in_the_same_order(rank, scale):
    random = np.random.default_rng(rank)
    a, b = (random.normal(size=(n, rank)).astype(np.float32) * np.float32(scale) for n in (3, 5))
    for i, j in ((0, 0), (2, 4), (1, 3)):
        expected = slow_dot(a[i], b[j])
        assert dot(a, i, b, j) == expected
        assert compiled(a, i, b, j) == expected
        exact = float(a[i].astype(np.float64) @ b[j].astype(np.float64))
        assert expected == pytest.approx(exact, rel=1e-4, abs=1e-6 * scale**2 * rank)


def test_what_is_not_finite_stays_so():
    a = np.array([[np.inf, 1.0, 2.0], [np.nan, 1.0, 2.0]], np.float32)
    b = np.ones((1, 3), np.float32)
    assert compiled(a, 0, b, 0) == dot(a, 0, b, 0) == np.inf
    assert np.isnan(compiled(a, 1, b, 0))
    assert np.isnan(dot(a, 1, b, 0))


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="uncompiled code takes any array")
def test_rows_that_are_not_contiguous_are_no_kernel():
    rows = np.ones((4, 6), np.float32)
    with pytest.raises(numba.core.errors.TypingError, match="contiguous float32"):
        compiled(rows[:, ::2], 0, rows[:, ::2], 1)
    with pytest.raises(numba.core.errors.TypingError, match="contiguous float32"):
        compiled(rows.astype(np.float64), 0, rows, 1)
