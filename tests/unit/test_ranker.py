"""The ranker against brute force."""

import math
from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.ranker import Blended, Catalogue, Ratings, User, explain, is_known, recommend, score
from state import neighbours
from state.scoring import blend, popularity
from state.scoring.popularity import COMMON, DECAYS
from state.scoring.top_k import top_k

RANK = 8
ITEMS = 50
STATES = 200 if numba.config.DISABLE_JIT else 10_000


def make_catalogue(mean: float | None = None, items: int = ITEMS, seed: int = 3) -> Catalogue:
    random = np.random.default_rng(seed)
    return Catalogue(
        random.normal(size=(items, RANK)).astype(np.float32),
        random.normal(size=items).astype(np.float32),
        random.uniform(0, 50, (items, len(DECAYS))),
        random.integers(0, 1_000, items),
        np.ones(items, np.int32),
        clock=1_000,
        ratings=None if mean is None else Ratings(mean, -np.inf, np.inf),
    )


def make_user(seen: tuple[int, ...] = (), seed: int = 5) -> User:
    vector = np.random.default_rng(seed).normal(size=RANK).astype(np.float32)
    return User(vector, 0.25, np.array(seen, np.uint32), np.ones(len(seen), np.float32))


def slow_score(catalogue: Catalogue, user: User, item: int) -> float:
    dot = sum(float(user.vector[f]) * float(catalogue.vectors[item, f]) for f in range(RANK))
    level = 0.0 if catalogue.ratings is None else catalogue.ratings.mean + user.bias
    return level + float(catalogue.bias[item]) + dot


def slow_popularity(catalogue: Catalogue, item: int) -> float:
    age = catalogue.clock - int(catalogue.counted_at[item])
    return math.log1p(float(catalogue.counts[item, COMMON]) * DECAYS[COMMON] ** age)


def slow_top(scores: list[float], k: int, without: tuple[int, ...] = ()) -> list[int]:
    return sorted(set(range(len(scores))) - set(without), key=lambda i: (-scores[i], i))[:k]


@pytest.mark.parametrize("mean", [None, 3.5])
@pytest.mark.parametrize("k", [1, 7, 45, 50, 1_000])
@pytest.mark.parametrize("include_seen", [True, False])
def test_a_recommendation_is_the_exact_top_k(mean: float | None, k: int, include_seen: bool) -> None:
    catalogue, user = make_catalogue(mean), make_user(seen=(3, 3, 17, 40))
    expected = [slow_score(catalogue, user, i) for i in range(ITEMS)]
    ranking = recommend(catalogue, user, k, include_seen, now_ms=0)
    assert ranking.ordinals.tolist() == slow_top(expected, k, () if include_seen else (3, 17, 40))
    np.testing.assert_allclose(ranking.scores, [expected[i] for i in ranking.ordinals], atol=1e-5)


def test_an_unknown_user_is_recommended_what_is_popular_now() -> None:
    catalogue = make_catalogue()
    expected = [slow_popularity(catalogue, i) for i in range(ITEMS)]
    ranking = recommend(catalogue, None, 10, include_seen=False, now_ms=0)
    assert ranking.ordinals.tolist() == slow_top(expected, 10)
    np.testing.assert_allclose(ranking.scores, [expected[i] for i in ranking.ordinals], rtol=1e-6)
    once_popular = np.argmax(catalogue.counts[:, COMMON])
    assert ranking.ordinals[0] != once_popular, "the data must tell decayed popularity from raw counts"


def test_a_user_about_whom_nothing_is_learnt_is_told_what_is_popular_but_not_what_they_saw() -> None:
    catalogue = make_catalogue()
    blank = User(
        np.zeros(RANK, np.float32),
        0.0,
        recommend(catalogue, None, 1, False, now_ms=0).ordinals[:1].astype(np.uint32),
        np.ones(1, np.float32),
    )
    assert is_known(blank)
    assert not is_known(None)
    assert is_known(make_user())
    stranger = recommend(catalogue, None, 5, include_seen=False, now_ms=0).ordinals.tolist()
    assert recommend(catalogue, blank, 4, include_seen=False, now_ms=0).ordinals.tolist() == stranger[1:]


@pytest.mark.parametrize("mean", [None, 3.5])
def test_scores_come_in_the_order_asked_and_unknown_items_score_the_prior(mean: float | None) -> None:
    catalogue, user = make_catalogue(mean), make_user()
    scores = score(catalogue, user, np.array([9, -1, 2, 9]), now_ms=0)
    prior = 0.0 if mean is None else mean + user.bias
    expected = [slow_score(catalogue, user, 9), prior, slow_score(catalogue, user, 2)]
    np.testing.assert_allclose(scores, [*expected, expected[0]], atol=1e-5)
    assert scores.dtype == np.float32


def test_scores_for_an_unknown_user_are_popularity_or_the_predicted_rating() -> None:
    implicit, explicit = make_catalogue(), make_catalogue(mean=3.5)
    np.testing.assert_allclose(
        score(implicit, None, np.array([4, -1]), now_ms=0), [slow_popularity(implicit, 4), 0.0], rtol=1e-6
    )
    np.testing.assert_allclose(
        score(explicit, None, np.array([4, -1]), now_ms=0), [3.5 + float(explicit.bias[4]), 3.5], rtol=1e-6
    )


def test_predicted_ratings_are_brought_within_those_seen() -> None:
    free, user = make_catalogue(mean=3.5), make_user()
    clipped, unseen = (replace(free, ratings=Ratings(3.5, *seen)) for seen in ((1.0, 5.0), (np.inf, -np.inf)))
    everything = np.arange(-1, ITEMS)
    expected = score(free, user, everything, now_ms=0)
    assert expected.min() < 1
    assert expected.max() > 5
    found = score(clipped, user, everything, now_ms=0)
    np.testing.assert_array_equal(found, expected.clip(1, 5))
    np.testing.assert_array_equal(score(unseen, user, everything, now_ms=0), expected)
    ranked, order = (recommend(each, user, ITEMS, True, now_ms=0) for each in (clipped, free))
    assert ranked.ordinals.tolist() == order.ordinals.tolist()
    np.testing.assert_array_equal(ranked.scores, order.scores.clip(1, 5))
    best = int(order.ordinals[0])
    told = explain(clipped, user, best, now_ms=0)
    assert told.score == pytest.approx(5)


def test_an_empty_catalogue_recommends_nothing() -> None:
    empty = make_catalogue(items=0)
    assert len(recommend(empty, None, 5, False, now_ms=0).ordinals) == 0
    assert len(recommend(empty, make_user(), 5, False, now_ms=0).ordinals) == 0
    assert score(empty, None, np.array([-1]), now_ms=0).tolist() == [0.0]


def test_asking_does_not_change_the_catalogue() -> None:
    catalogue, user = make_catalogue(), make_user()
    first = recommend(catalogue, user, 10, False, now_ms=0).ordinals.tolist()
    seen, strengths = np.arange(ITEMS, dtype=np.uint32), np.ones(ITEMS, np.float32)
    recommend(catalogue, User(np.zeros(RANK, np.float32), 0.0, seen, strengths), 10, False, now_ms=0)
    assert recommend(catalogue, user, 10, False, now_ms=0).ordinals.tolist() == first
    assert len(recommend(catalogue, None, ITEMS, False, now_ms=0).ordinals) == ITEMS


@given(
    st.lists(st.sampled_from([-math.inf, math.nan, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0]), max_size=60),
    st.integers(0, 70),
)
def test_top_k_breaks_ties_by_the_lower_slot_and_leaves_out_what_is_not_finite(
    scores: list[float], k: int
) -> None:
    excluded = tuple(i for i, value in enumerate(scores) if not math.isfinite(value))
    assert top_k(np.array(scores, np.float64), k).tolist() == slow_top(scores, k, excluded)


def test_top_k_of_many_scores_is_what_sorting_says() -> None:
    scores = np.random.default_rng(9).normal(size=20_000).round(2)
    for k in (1, 10, 999, 20_000):
        assert top_k(scores, k).tolist() == np.lexsort((np.arange(20_000), -scores))[:k].tolist()


def make_blended(repeats: bool = False, seed: int = 9) -> Catalogue:
    """A catalogue that is ranked by the blend, with neighbours and weights of every sign."""
    random = np.random.default_rng(seed)
    plain = make_catalogue()
    norms = np.zeros(ITEMS, np.float32)
    blend.inverse_norms_of(plain.vectors, np.arange(ITEMS), norms)
    lists = neighbours.empty_lists(ITEMS)
    for _ in range(300):
        owner, other = random.integers(ITEMS, size=2)
        neighbours.add(lists, int(owner), int(other), 12, 3)
    weights = random.normal(size=blend.SIZE_REPEATS)
    scalars = np.zeros(ITEMS)
    catalogue = blend.Catalogue(plain.vectors, norms, plain.counts, plain.counted_at, lists)
    of_popularity = weights[blend.POPULARITY : blend.NEIGHBOURS]
    popularity.scalars(plain.counts, plain.counted_at, plain.clock, of_popularity, scalars)
    place = np.full(ITEMS, -1, np.int32)
    return replace(
        plain, blended=Blended(catalogue, weights, scalars, random.normal(size=ITEMS), repeats, place)
    )


def known_of(catalogue: Catalogue, user: User, now_ms: int) -> blend.Known:
    blended = catalogue.blended
    assert blended is not None
    return blend.known_of(
        user.vector.reshape(1, -1),
        0,
        user.seen,
        user.strengths,
        now_ms - user.last_event_ms,
        blended.catalogue,
        catalogue.clock,
        blended.repeats,
        blended.place,
    )


def brute_force(catalogue: Catalogue, user: User, now_ms: int) -> np.ndarray:
    """Every item's score by the learner's kernel."""
    assert catalogue.blended is not None
    blended, out = catalogue.blended, np.zeros(ITEMS)
    known = known_of(catalogue, user, now_ms)
    blend.score_all(blended.catalogue, known, blended.scalars, blended.weights, out)
    return out


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("k", [1, 10, ITEMS])
def test_the_blend_is_ranked_exactly(repeats: bool, k: int) -> None:
    catalogue, user = make_blended(repeats), make_user(seen=(3, 17, 40))
    expected = brute_force(catalogue, user, now_ms=90_000)
    ranking = recommend(catalogue, user, k, False, now_ms=90_000)
    assert ranking.ordinals.tolist() == slow_top(expected.tolist(), k, () if repeats else (3, 17, 40))
    assert np.array_equal(ranking.scores, expected[ranking.ordinals].astype(np.float32))
    some = np.array([7, 3, -1, 7])
    scores = score(catalogue, user, some, now_ms=90_000)
    assert np.array_equal(scores[[0, 1, 3]], expected[[7, 3, 7]].astype(np.float32))
    assert scores[2] == 0


def test_a_score_is_the_same_number_alone_and_in_a_ranking() -> None:
    """Random users and weights: the list is the sorted scores, asked for one by one."""
    random = np.random.default_rng(5)
    world = [make_blended(repeats, seed) for seed in range(10) for repeats in (False, True)]
    lowered = 0
    for state in range(STATES):
        catalogue, blended = world[state % len(world)], world[state % len(world)].blended
        assert blended is not None
        blended.weights[:] = random.normal(size=blend.SIZE_REPEATS)
        seen = random.integers(0, ITEMS, random.integers(0, 9)).astype(np.uint32)
        strengths = random.choice([1.0, 1.0, -1.0], len(seen)).astype(np.float32)
        user = User(random.normal(size=RANK).astype(np.float32), 0.0, seen, strengths, 0)
        ranking = recommend(catalogue, user, 7, blended.repeats, now_ms=state)
        alone = np.array([score(catalogue, user, np.array([item]), state)[0] for item in ranking.ordinals])
        assert np.array_equal(alone, ranking.scores), state
        everything = score(catalogue, user, np.arange(ITEMS), state)
        left_out = np.zeros(ITEMS, np.bool_)
        left_out[seen] = not blended.repeats
        best = np.sort(everything[~left_out])[::-1][:7]
        assert np.array_equal(best, ranking.scores), state
        known = known_of(catalogue, user, state)
        lowered += bool((blend.sparse_scores(known.sparse, blended.weights) < 0).any())
    assert lowered > STATES / 2, "sparse parts are negative too"


def test_the_blend_knows_how_long_ago_the_last_event_was() -> None:
    catalogue, user = make_blended(), make_user(seen=(3, 17, 40))
    soon, later = (recommend(catalogue, user, ITEMS, True, now_ms).scores for now_ms in (0, 10**10))
    assert not np.array_equal(soon, later)


@pytest.mark.parametrize("mean", [None, 3.5, "blend", "repeats"])
def test_the_parts_of_a_score_add_up_to_it_and_say_who_is_asked(mean: float | str | None) -> None:
    catalogue = make_blended(mean == "repeats") if isinstance(mean, str) else make_catalogue(mean)
    fan, other = make_user(seen=(3, 17, 40)), make_user(seen=(5,), seed=6)
    popular = []
    for user in (fan, other, None):
        for item in (*range(ITEMS), -1):
            why = explain(catalogue, user, item, now_ms=90_000)
            expected = float(score(catalogue, user, np.array([item]), now_ms=90_000)[0])
            assert why.score == pytest.approx(expected, abs=1e-5)
            assert set(why.neighbours) <= set(user.seen.tolist() if user else ())
            nothing = (why.taste, why.recent, why.neighbours, why.had_before) == (0, 0, {}, 0)
            assert nothing == (user is None or item < 0)
        popular.append([explain(catalogue, user, item, now_ms=90_000).popularity for item in range(ITEMS)])
    assert popular[0] == pytest.approx(popular[1], abs=1e-6), "what everybody is told"


def test_strangers_are_ranked_by_what_newcomers_like() -> None:
    catalogue = make_blended()
    assert catalogue.blended is not None
    expected = slow_top(catalogue.blended.for_newcomers.tolist(), 5)
    assert recommend(catalogue, None, 5, False, now_ms=0).ordinals.tolist() == expected
