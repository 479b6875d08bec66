"""The score by factors: its two forms agree, and both with its definition."""

import numpy as np
import pytest

from state.scoring import factors


@pytest.mark.parametrize("rank", [1, 3, 8, 32, 65])
def test_the_fast_form_is_the_exact_one_up_to_rounding(rank: int) -> None:
    random = np.random.default_rng(rank)
    users, items = (random.normal(size=(n, rank)).astype(np.float32) for n in (3, 200))
    bias, exact = random.normal(size=200).astype(np.float32), np.empty(150)
    factors.score_all(users, 1, items, bias, exact)
    fast = factors.fast_scores(users[1], items[:150], bias[:150])
    wanted = bias[:150].astype(np.float64) + items[:150].astype(np.float64) @ users[1].astype(np.float64)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(exact, wanted, atol=1e-5 * rank)
    np.testing.assert_allclose(fast, wanted, atol=1e-5 * rank)
