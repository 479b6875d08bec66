"""Models side by side: each against a slow twin."""

import numpy as np
import pytest

from state.model import Model
from state.scoring.neighbours import cosine_scores, directed_scores
from state.scoring.popularity import COMMON, half_life
from stream.evaluation.experts import (
    DECAYS,
    DecayedPopularity,
    Factors,
    ItemMean,
    ItemToItem,
    Query,
    WindowPopularity,
    mean_similarity,
    popularities,
)

NOBODY = np.zeros(0, np.int64)


def ordinals(*items: int) -> np.ndarray:
    return np.array(items, np.int64)


def query(items: int, user: int = 0, history: np.ndarray = NOBODY) -> Query:
    return Query(items, user, history, 0)


def tell(expert, items):
    """Everything at once, or one by one: it must not matter."""
    half = len(items) // 2
    expert.learn(np.zeros(half, np.int64), items[:half])
    for item in items[half:]:
        expert.learn(ordinals(0), ordinals(item))


@pytest.mark.parametrize("decay", [*DECAYS, 1.0, 0.5])
def test_decayed_popularity_agrees_with_its_twin(decay):
    """A decay of one half passes the largest weight there may be several times."""
    items = np.random.default_rng(1).integers(6, size=1_500)
    expert = DecayedPopularity(8, decay)
    tell(expert, items)
    age = len(items) - 1 - np.arange(len(items))
    expected = np.bincount(items, decay**age, minlength=8)
    counts = expert.answer(query(8)).scores
    np.testing.assert_allclose(counts / counts.sum(), expected / expected.sum(), rtol=1e-9)


def test_half_lives_name_the_decays():
    assert [half_life(decay) for decay in DECAYS] == [69, 138, 693, 6931]
    assert list(popularities(3)) == [
        "decayed_popularity_69",
        "decayed_popularity_138",
        "decayed_popularity_693",
        "decayed_popularity_6931",
        "window_popularity",
        "popularity",
    ]


def test_window_popularity_is_that_of_the_last_complete_window():
    expert = WindowPopularity(4, window_events=3)
    expert.learn(ordinals(0, 0), ordinals(1, 1))
    assert expert.answer(query(4)).scores.tolist() == [0, 2, 0, 0]
    expert.learn(ordinals(0, 0, 0), ordinals(2, 3, 3))
    assert expert.answer(query(4)).scores.tolist() == [0, 2, 1, 0]
    expert.learn(ordinals(0), ordinals(3))
    assert expert.answer(query(4)).scores.tolist() == [0, 0, 0, 3]


def test_mean_similarity_agrees_with_its_twin():
    vectors = np.random.default_rng(2).normal(size=(20, 5)).astype(np.float32)
    vectors[3] = 0
    last = ordinals(1, 3, 7, 1)
    scores = np.empty(18)
    mean_similarity(vectors, last, scores)
    norm = np.linalg.norm(vectors, axis=1)
    unit = np.divide(vectors, norm[:, None], out=np.zeros_like(vectors), where=norm[:, None] > 0)
    np.testing.assert_allclose(scores, (unit @ unit[last].mean(0))[:18], atol=1e-6)


@pytest.fixture
def model():
    """Three items, of which the middle one is popular, and one user."""
    model = Model(4, 10, 5, 8, 10)
    random = np.random.default_rng(3)
    model.items.vectors[:3] = random.normal(size=(3, 4))
    model.users.vectors[0] = random.normal(size=4)
    model.items.bias[:3] = 0.5, 0, -1
    model.items.counts[:3, COMMON] = 1, 5, 2
    model.globals["counts"][:] = 1, 3
    return model


def test_factors_are_biases_and_inner_products(model):
    answer = Factors(model).answer(query(3))
    expected = model.items.bias[:3] + model.items.vectors[:3] @ model.users.vectors[0]
    np.testing.assert_allclose(answer.scores, expected, rtol=1e-6)
    assert not answer.are_counts


def test_strangers_are_told_what_is_popular(model):
    for answer in (Factors(model).answer(query(3, user=-1)), ItemMean(model).answer(query(3))):
        np.testing.assert_allclose(answer.scores, [1, 5, 2])
        assert answer.are_counts


def test_item_mean_looks_at_the_last_five(model):
    expert = ItemMean(model)
    long = expert.answer(query(3, history=ordinals(0, 1, 1, 2, 1, 2))).scores.copy()
    short = expert.answer(query(3, history=ordinals(1, 1, 2, 1, 2))).scores
    assert np.array_equal(long, short)


@pytest.mark.parametrize(
    ("scorer", "expected"),
    [
        # User 0 had item 0, then 1; user 1 had 0, then 2; user 0 is asked about. Newest first: 1, 0.
        (directed_scores, [0.0, 0.6 * 1 / 12, 0.6 * 1 / 12]),
        (cosine_scores, [1 / np.sqrt(1 * 2), 0.6 / np.sqrt(2 * 1), 0.6 / np.sqrt(2 * 1)]),
    ],
    ids=["directed", "cosine"],
)
def test_item_to_item_looks_at_what_came_next_to_the_last_items(model, scorer, expected):
    expert = ItemToItem(model, scorer)
    expert.learn(ordinals(0, 1, 0, 1), ordinals(0, 0, 1, 2))
    np.testing.assert_allclose(expert.answer(query(3, user=0)).scores, expected, rtol=1e-6)
    stranger = expert.answer(query(3, user=-1))
    assert stranger.are_counts
    np.testing.assert_allclose(stranger.scores, [1, 5, 2])
