"""The ranker against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.kernels import top_k
from serving.ranker import Catalogue, User, has_taste, recommend, score

RANK = 8
ITEMS = 50


def make_catalogue(mean: float | None = None, items: int = ITEMS, seed: int = 3) -> Catalogue:
    random = np.random.default_rng(seed)
    return Catalogue(
        random.normal(size=(items, RANK)).astype(np.float32),
        random.normal(size=items).astype(np.float32),
        random.uniform(0, 50, items),
        random.integers(0, 1_000, items),
        clock=1_000,
        half_life_events=300.0,
        mean=mean,
    )


def make_user(seen: tuple[int, ...] = (), seed: int = 5) -> User:
    vector = np.random.default_rng(seed).normal(size=RANK).astype(np.float32)
    return User(vector, 0.25, np.array(seen, np.int64))


def slow_score(catalogue: Catalogue, user: User, item: int) -> float:
    dot = sum(float(user.vector[f]) * float(catalogue.vectors[item, f]) for f in range(RANK))
    level = 0.0 if catalogue.mean is None else catalogue.mean + user.bias
    return level + float(catalogue.bias[item]) + dot


def slow_popularity(catalogue: Catalogue, item: int) -> float:
    age = catalogue.clock - int(catalogue.popular_at[item])
    return math.log1p(float(catalogue.popularity[item]) * 2 ** (-age / catalogue.half_life_events))


def slow_top(scores: list[float], k: int, without: tuple[int, ...] = ()) -> list[int]:
    return sorted(set(range(len(scores))) - set(without), key=lambda i: (-scores[i], i))[:k]


@pytest.mark.parametrize("mean", [None, 3.5])
@pytest.mark.parametrize("k", [1, 7, 45, 50, 1_000])
@pytest.mark.parametrize("include_seen", [True, False])
def test_a_recommendation_is_the_exact_top_k(mean: float | None, k: int, include_seen: bool) -> None:
    catalogue, user = make_catalogue(mean), make_user(seen=(3, 3, 17, 40))
    expected = [slow_score(catalogue, user, i) for i in range(ITEMS)]
    ranking = recommend(catalogue, user, k, include_seen)
    assert ranking.ordinals.tolist() == slow_top(expected, k, () if include_seen else (3, 17, 40))
    np.testing.assert_allclose(ranking.scores, [expected[i] for i in ranking.ordinals], atol=1e-5)


def test_an_unknown_user_is_recommended_what_is_popular_now() -> None:
    catalogue = make_catalogue()
    expected = [slow_popularity(catalogue, i) for i in range(ITEMS)]
    ranking = recommend(catalogue, None, 10, include_seen=False)
    assert ranking.ordinals.tolist() == slow_top(expected, 10)
    np.testing.assert_allclose(ranking.scores, [expected[i] for i in ranking.ordinals], rtol=1e-6)
    once_popular = np.argmax(catalogue.popularity)
    assert ranking.ordinals[0] != once_popular, "the data must tell decayed popularity from raw counts"


def test_a_user_about_whom_nothing_is_learnt_is_cold_but_keeps_what_they_saw() -> None:
    catalogue = make_catalogue()
    blank = User(
        np.zeros(RANK, np.float32), 0.0, np.array([recommend(catalogue, None, 1, False).ordinals[0]])
    )
    assert not has_taste(blank)
    assert not has_taste(None)
    assert has_taste(make_user())
    stranger = recommend(catalogue, None, 5, include_seen=False).ordinals.tolist()
    assert recommend(catalogue, blank, 4, include_seen=False).ordinals.tolist() == stranger[1:]


@pytest.mark.parametrize("mean", [None, 3.5])
def test_scores_come_in_the_order_asked_and_unknown_items_score_the_prior(mean: float | None) -> None:
    catalogue, user = make_catalogue(mean), make_user()
    scores = score(catalogue, user, np.array([9, -1, 2, 9]))
    prior = 0.0 if mean is None else mean + user.bias
    expected = [slow_score(catalogue, user, 9), prior, slow_score(catalogue, user, 2)]
    np.testing.assert_allclose(scores, [*expected, expected[0]], atol=1e-5)
    assert scores.dtype == np.float32


def test_scores_for_an_unknown_user_are_popularity_or_the_predicted_rating() -> None:
    implicit, explicit = make_catalogue(), make_catalogue(mean=3.5)
    np.testing.assert_allclose(
        score(implicit, None, np.array([4, -1])), [slow_popularity(implicit, 4), 0.0], rtol=1e-6
    )
    np.testing.assert_allclose(
        score(explicit, None, np.array([4, -1])), [3.5 + float(explicit.bias[4]), 3.5], rtol=1e-6
    )


def test_an_empty_catalogue_recommends_nothing() -> None:
    empty = make_catalogue(items=0)
    assert len(recommend(empty, None, 5, False).ordinals) == 0
    assert len(recommend(empty, make_user(), 5, False).ordinals) == 0
    assert score(empty, None, np.array([-1])).tolist() == [0.0]


def test_asking_does_not_change_the_catalogue() -> None:
    catalogue, user = make_catalogue(), make_user(seen=(1, 2))
    first = recommend(catalogue, user, 10, False).ordinals.tolist()
    recommend(catalogue, User(np.zeros(RANK, np.float32), 0.0, np.arange(ITEMS)), 10, False)
    assert recommend(catalogue, user, 10, False).ordinals.tolist() == first
    assert len(recommend(catalogue, None, ITEMS, False).ordinals) == ITEMS


@given(
    st.lists(st.sampled_from([-math.inf, math.nan, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0]), max_size=60),
    st.integers(0, 70),
)
def test_top_k_breaks_ties_by_the_lower_slot_and_leaves_out_what_is_not_finite(
    scores: list[float], k: int
) -> None:
    excluded = tuple(i for i, value in enumerate(scores) if not math.isfinite(value))
    for dtype in (np.float32, np.float64):
        assert top_k(np.array(scores, dtype), k).tolist() == slow_top(scores, k, excluded)


def test_top_k_of_many_scores_is_what_sorting_says() -> None:
    scores = np.random.default_rng(9).normal(size=20_000).astype(np.float32).round(2)
    for k in (1, 10, 999, 20_000):
        assert top_k(scores, k).tolist() == np.lexsort((np.arange(20_000), -scores))[:k].tolist()
