"""The score by factors: of all items and of some, the same numbers, and those of its definition."""

import numpy as np
import pytest

from state.scoring import factors


@pytest.mark.parametrize("rank", [1, 3, 8, 32, 65])
def test_both_forms_are_the_definition_up_to_rounding_and_each_other_to_the_bit(rank: int) -> None:
    random = np.random.default_rng(rank)
    users, items = (random.normal(size=(n, rank)).astype(np.float32) for n in (3, 200))
    bias, every = random.normal(size=200).astype(np.float32), np.empty(150)
    factors.score_all(users, 1, items, bias, every)
    wanted = bias[:150].astype(np.float64) + items[:150].astype(np.float64) @ users[1].astype(np.float64)
    np.testing.assert_allclose(every, wanted, atol=1e-5 * rank)
    chosen, some = np.array([149, 0, 7, 7]), np.empty(4)
    factors.score_some(users, 1, items, bias, chosen, some)
    assert np.array_equal(some, every[chosen])
