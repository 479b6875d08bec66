"""Test-then-learn evaluation against a slow oracle, and never after the fact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import Feed, batch, event, score, slot, small_settings
from twins import mix

from state.memory import MemoryStore
from stream.config import LearningConfig, PrequentialConfig
from stream.engine import Engine
from stream.prequential import WINDOWS_KEPT, Prequential, middle_rank, position_hashes, sampled


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.data())
def test_the_rank_is_the_middle_of_the_ties(levels, data):
    target = data.draw(st.integers(0, len(levels) - 1))
    excluded = data.draw(st.sets(st.integers(0, len(levels) - 1)).map(lambda found: found - {target}))
    candidates = [level for i, level in enumerate(levels) if i not in excluded]
    above = sum(level > levels[target] for level in candidates)
    ties = sum(level == levels[target] for level in candidates)
    found = middle_rank(np.array(levels, np.float64), target, np.array(sorted(excluded), np.int64))
    assert found == np.mean(np.arange(above + 1, above + ties + 1))


def engine_with(**prequential):
    return Engine(small_settings(prequential={"k": 3, **prequential}), MemoryStore())


def warmed(seed=1, **prequential):
    engine = engine_with(**prequential)
    random = np.random.default_rng(seed)
    feed = Feed()
    for _ in range(6):
        pairs = zip(random.integers(0, 9, 20), random.integers(0, 12, 20), strict=True)
        engine.process([feed(*[event(f"u{u}", f"i{i}") for u, i in pairs])])
    return engine, feed


def slow_rank(engine, user, item, scores):
    """Rank of an item among those that are not in the user's history."""
    model = engine.model
    seen = set(model.users.history(slot(model.users, user))[0].tolist())
    names = [name.decode() for name in model.items.ids(model.items.slots)]
    others = [scores(name) for n, name in enumerate(names) if n not in seen and name != item]
    wanted = scores(item)
    return 1 + sum(s > wanted for s in others) + 0.5 * sum(s == wanted for s in others)


def decayed_counts(engine, liked):
    """Popularity from the log: every like loses half its weight in 700 interactions."""
    counts = dict.fromkeys((name.decode() for name in engine.model.items.ids(engine.model.items.slots)), 0.0)
    for when, item in liked:
        counts[item] += 2.0 ** ((when - engine.model.clock) / 700)
    return counts


def test_ranks_and_metrics_agree_with_a_slow_oracle():
    engine, feed = warmed()
    model = engine.model
    pairs = [(f"u{u}", f"i{i}") for u in range(9) for i in range(12)]
    eligible = [
        (user, item)
        for user, item in pairs
        if slot(model.users, user) >= 0
        and slot(model.items, item) >= 0
        and slot(model.items, item) not in model.users.history(slot(model.users, user))[0]
    ]
    ranks = [
        slow_rank(engine, user, item, lambda name, u=user: score(model, u, name)) for user, item in eligible
    ]
    before = engine.prequential.total
    expected = {
        "scored": before.scored + len(ranks),
        "mrr": before.ranking["live"].mrr + sum(1 / rank for rank in ranks),
        "hits": before.ranking["live"].hits + sum(rank <= 3 for rank in ranks),
        "ndcg": before.ranking["live"].ndcg + sum(1 / np.log2(1 + rank) for rank in ranks if rank <= 3),
    }
    engine.process([feed(*[event(user, item) for user, item in pairs])])
    total = engine.prequential.total
    assert len(ranks) > 10
    assert total.scored == expected.pop("scored")
    for name, value in expected.items():
        assert getattr(total.ranking["live"], name) == pytest.approx(value, abs=1e-3)


def test_popularity_is_the_decayed_count_of_likes():
    engine = engine_with()
    feed, random, liked = Feed(), np.random.default_rng(4), []
    for _ in range(8):
        batch_of = [
            (int(random.integers(5)), int(random.integers(8)), random.random() < 0.8) for _ in range(15)
        ]
        engine.process(
            [feed(*[event(f"u{u}", f"i{i}", value=1.0 if like else -1.0) for u, i, like in batch_of])]
        )
        start = engine.model.clock - 15
        liked += [(start + n + 1, f"i{i}") for n, (_, i, like) in enumerate(batch_of) if like]
    items = engine.model.items
    for name, expected in decayed_counts(engine, liked).items():
        i = slot(items, name)
        age = engine.model.clock - items.popular_at[i]
        assert items.popularity[i] * 2.0 ** (-age / 700) == pytest.approx(expected)


def test_scores_do_not_depend_on_what_the_batch_teaches():
    """Whatever a user is said to dislike before and after them, the same likes get the same ranks."""
    gains = set()
    for strength in (None, 0.1, 9.0):
        engine, feed = warmed()
        likes = [event("u1", f"i{n}") for n in range(12)]
        dislikes = [event("u1", f"i{n}", value=-strength) for n in range(12)] if strength else []
        before = engine.prequential.total.ranking["live"].mrr
        engine.process([feed(*dislikes, *likes, *dislikes)])
        gains.add(round(engine.prequential.total.ranking["live"].mrr - before, 9))
    assert len(gains) == 1
    assert gains != {0}


def test_a_batch_learns_nothing_from_itself_before_it_is_scored():
    """Every order of a batch gives the same ranks: all of them come before any learning."""
    results = set()
    for order in (1, -1):
        engine, feed = warmed()
        pairs = [("u1", f"i{n}") for n in range(12)] + [("u2", "i3"), ("u4", "i5"), ("u2", "i7")]
        engine.process([feed(*[event(user, item) for user, item in pairs[::order]])])
        results.add((engine.prequential.total.scored, round(engine.prequential.total.ranking["live"].mrr, 9)))
    assert len(results) == 1


def test_only_warm_positives_that_are_new_to_the_user_are_scored():
    engine = engine_with()
    feed = Feed()
    engine.process([feed(event("a", "x"), event("b", "y"), event("b", "z"))])
    assert engine.prequential.total.scored == 0
    engine.process(
        [
            feed(
                event("a", "x"),
                event("a", "y", value=-1.0),
                event("new", "x"),
                event("a", "new"),
                event("b", "y", "remove"),
                event("b", "x", "impression"),
            )
        ]
    )
    assert engine.prequential.total.scored == 0
    engine.process([feed(batch(event("b", "x"), event("b", "new")))])
    assert engine.prequential.total.scored == 2


def test_windows_are_completed_and_bounded():
    engine, feed = warmed(window_events=10)
    assert engine.prequential.total.scored > 20
    for n in range(800):
        engine.process([feed(event(f"v{n % 30}", f"j{n % 37}"))])
    prequential = engine.prequential
    assert all(window.scored == 10 for window in prequential.completed)
    assert len(prequential.completed) == WINDOWS_KEPT
    assert prequential.window.scored < 10
    through = [window.through for window in prequential.completed]
    assert through == sorted(through)


def test_measurements_are_stored_and_go_on():
    engine, feed = warmed()
    restarted = Engine(engine.settings, engine.store)
    for one in (engine, restarted):
        assert one.prequential.pack() == engine.store.head().memo["prequential"]
    restarted.process([feed(*[event("u1", f"i{n}") for n in range(12)])])
    copy = Prequential(engine.settings.prequential, engine.settings.learning)
    copy.restore(restarted.prequential.pack())
    assert (copy.total, copy.window, copy.completed) == (
        restarted.prequential.total,
        restarted.prequential.window,
        restarted.prequential.completed,
    )


def test_errors_of_ratings_are_those_of_predictions_before_learning():
    engine = Engine(small_settings(learning={"algorithm": "sgd", "feedback": "explicit"}), MemoryStore())
    feed, errors = Feed(), []
    random = np.random.default_rng(2)
    for _ in range(60):
        user, item, rating = f"u{random.integers(5)}", f"i{random.integers(6)}", float(random.integers(1, 6))
        if slot(engine.model.users, user) >= 0 and slot(engine.model.items, item) >= 0:
            predicted = engine.model.globals["mean"][0] + score(engine.model, user, item)
            before = engine.prequential.total.absolute_error
            engine.process([feed(event(user, item, value=rating))])
            errors.append(engine.prequential.total.absolute_error - before)
            assert errors[-1] == pytest.approx(abs(predicted - rating), abs=1e-4)
        else:
            engine.process([feed(event(user, item, value=rating))])
    assert engine.prequential.total.rated == 60
    engine.process([feed(event("u0", "i0", value=3.0), event("u0", "i0", "remove"))])
    assert engine.prequential.total.rated == 61
    assert len(errors) > 30


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


def test_large_catalogues_are_sampled_more_rarely():
    prequential = Prequential(PrequentialConfig(sample_every=20, work_max=1_000), LearningConfig())
    assert prequential.period(100, 32) == 20
    assert prequential.period(200_000, 32) == 6_400
