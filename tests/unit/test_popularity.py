"""Decayed counts by their definition, and what a like leaves behind when it is taken back."""

import numpy as np
import pytest
import twins

from state.scoring import popularity
from stream.learning.popularity import count_like, take_like_back

ITEMS = 6


def learnt(count, seed=1):
    """Counts after random likes, and the likes as (number, item)."""
    random = np.random.default_rng(seed)
    counts, counted_at = np.zeros((ITEMS, len(popularity.DECAYS))), np.zeros(ITEMS, np.int64)
    likes = [(clock, int(random.integers(ITEMS - 1))) for clock in range(1, count + 1)]
    for clock, item in likes:
        count_like(counts, counted_at, item, clock)
    return counts, counted_at, likes


@pytest.mark.parametrize("later_events", [0, 40, 100_000])
def test_counts_and_features_are_what_they_are_defined_as(later_events):
    counts, counted_at, likes = learnt(200)
    clock, found = 200 + later_events, np.full(popularity.FEATURES, np.nan)
    for item in range(ITEMS):
        popularity.features(counts, counted_at, item, clock, found)
        np.testing.assert_allclose(found, twins.popularity_features(likes, item, clock), rtol=1e-9)
    for column in range(len(popularity.DECAYS)):
        now = np.full(ITEMS, np.nan)
        popularity.present(counts, counted_at, column, clock, now)
        expected = [twins.decayed_counts(likes, item, clock)[column] for item in range(ITEMS)]
        np.testing.assert_allclose(now, expected, rtol=1e-9, atol=1e-300)


def test_the_scalar_is_the_weighted_sum_of_the_features():
    counts, counted_at, _ = learnt(300)
    weights = np.random.default_rng(2).normal(size=popularity.FEATURES)
    everything, some, found = np.zeros(ITEMS), np.zeros(ITEMS), np.zeros(popularity.FEATURES)
    popularity.scalars(counts, counted_at, 320, weights, everything)
    popularity.scalars_of(counts, counted_at, np.array([4, 1]), 320, weights, some)
    for item in range(ITEMS - 1):
        popularity.features(counts, counted_at, item, 320, found)
        assert everything[item] == pytest.approx(found @ weights)
    assert some.tolist() == [0, everything[1], 0, 0, everything[4], 0]


def test_an_item_without_a_like_scores_less_than_one_with_a_like_when_the_stream_began():
    """Also where slow counts have negative weights, which a count of zero would turn to its favour."""
    counts, counted_at, _ = learnt(300)
    weights = np.full(popularity.FEATURES, -1.0)
    count_like(counts, counted_at, ITEMS - 1, 0)
    liked_once = popularity.scalar(counts, counted_at, ITEMS - 1, 320, weights)
    take_like_back(counts, ITEMS - 1)
    unliked = popularity.scalar(counts, counted_at, ITEMS - 1, 320, weights)
    assert unliked == pytest.approx(liked_once - popularity.UNLIKED)


@pytest.mark.parametrize("column", range(popularity.EVER))
def test_what_is_left_out_as_nothing_would_not_have_changed_a_bit(column):
    counts, counted_at = np.zeros((1, len(popularity.DECAYS))), np.zeros(1, np.int64)
    counts[0, column] = 1e15
    last = int(popularity.LOG_NOTHING / popularity.LOG_DECAYS[column])
    before, after, ages_later = np.zeros((3, popularity.FEATURES))
    popularity.features(counts, counted_at, 0, last - 1, before)
    popularity.features(counts, counted_at, 0, last + 1, after)
    popularity.features(counts, counted_at, 0, 10**15, ages_later)
    expected = [np.log(smoother) for _ in popularity.DECAYS for smoother in popularity.SMOOTHERS]
    assert before.tolist() == after.tolist() == ages_later.tolist() == expected


def test_a_like_taken_back_leaves_the_undecayed_count_as_it_was():
    counts, counted_at, likes = learnt(50)
    before = counts[2].copy()
    count_like(counts, counted_at, 2, 51)
    take_like_back(counts, 2)
    assert counts[2, popularity.EVER] == before[popularity.EVER]
    assert (counts[2] >= 0).all()
    for _ in range(sum(item == 2 for _, item in likes) + 1):
        take_like_back(counts, 2)
    assert not counts[2].any()
