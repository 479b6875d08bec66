"""Test-then-learn evaluation against a slow oracle, and never after the fact."""

import numpy as np
import orjson
import pytest
from pipeline import Feed, batch, event, score, slot, small_settings

from serving.ranker import score as score_items
from serving.replica import Bounds, Replica
from state.memory import MemoryStore
from state.scoring.neighbours import WEIGHTS
from state.scoring.popularity import COMMON, EVER
from state.store import PREQUENTIAL_MEMO, Commit
from stream.config import LearningConfig, PrequentialConfig
from stream.engine import Engine
from stream.evaluation.prequential import WINDOWS_KEPT, Prequential
from stream.evaluation.ranking import LOG_SCALE, Answer, Calibration
from stream.walk.values import MODELS


def engine_with(ranking="factors", **prequential):
    return Engine(
        small_settings(prequential={"k": 3, **prequential}, ranking={"model": ranking}), MemoryStore()
    )


def warmed(seed=1, ranking="factors", **prequential):
    engine = engine_with(ranking, **prequential)
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


def slow_losses(engine, user, item, calibrations):
    """Log losses of the live model and of popularity among the same items."""
    model = engine.model
    candidate = np.ones(model.item_count, np.bool_)
    candidate[model.users.history(slot(model.users, user))[0]] = False
    names = [name.decode() for name in model.items.ids(model.items.slots)]
    live = np.array([score(model, user, name) for name in names])
    ages = model.clock - model.items.counted_at[: len(names)]
    popular = model.items.counts[: len(names), COMMON] * 0.999**ages
    return {
        name: calibrations[name].loss(Answer(values, are_counts), slot(model.items, item), candidate)
        for name, values, are_counts in (("live", live, False), ("popularity", popular, True))
    }


def decayed_counts(engine, liked):
    """Popularity from the log: every like loses a thousandth of its weight with every interaction."""
    counts = dict.fromkeys((name.decode() for name in engine.model.items.ids(engine.model.items.slots)), 0.0)
    for when, item in liked:
        counts[item] += 0.999 ** (engine.model.clock - when)
    return counts


def test_ranks_and_metrics_agree_with_a_slow_oracle():
    engine, feed = warmed()
    model = engine.model
    scored = known_before = engine.prequential.total.scored
    expected = dict(engine.prequential.total.ranking["live"])
    popular_loss = engine.prequential.total.ranking["popularity"]["log_loss"]
    calibrations = {"live": Calibration(), "popularity": Calibration()}
    for calibration, learnt in zip(calibrations.values(), engine.prequential.calibrations, strict=True):
        calibration.learnt[:] = learnt
    for user, item in [(f"u{u}", f"i{i}") for u in range(9) for i in range(12)]:
        known = slot(model.users, user) >= 0 and slot(model.items, item) >= 0
        if known and slot(model.items, item) not in model.users.history(slot(model.users, user))[0]:
            rank = slow_rank(engine, user, item, lambda name, u=user: score(model, u, name))
            scored += 1
            losses = slow_losses(engine, user, item, calibrations)
            expected["log_loss"] += losses["live"]
            popular_loss += losses["popularity"]
            expected["mrr"] += 1 / rank
            expected["hr"] += rank <= 3
            expected["ndcg"] += 1 / np.log2(1 + rank) if rank <= 3 else 0
        engine.process([feed(event(user, item))])
    total = engine.prequential.total
    assert total.scored == scored > known_before + 10
    assert total.ranking["live"] == pytest.approx(expected, abs=1e-3)
    assert total.ranking["popularity"]["log_loss"] == pytest.approx(popular_loss, abs=1e-3)


def test_neighbours_are_ranked_by_how_often_they_came_after_the_last_likes():
    engine, feed = warmed(ranking="blend")
    model, lists = engine.model, engine.model.neighbours.lists
    expected = engine.prequential.total.ranking["neighbours"]["mrr"]
    known_before = engine.prequential.total.scored
    for user, item in [(f"u{u}", f"i{i}") for u in range(9) for i in range(12)]:
        history = model.users.history(slot(model.users, user))[0].tolist()
        likes, scores = model.items.counts[:, EVER], np.zeros(model.item_count)
        for weight, owner in zip(WEIGHTS, history[:-6:-1], strict=False):
            for n in range(lists.length[owner]):
                other = lists.other[owner, n]
                scores[other] += weight * 0.05 * int(lists.forward[owner, n]) / (likes[owner] + 10)
        if slot(model.items, item) not in history:
            by_name = {name.decode(): scores[n] for n, name in enumerate(model.items.ids(model.items.slots))}
            expected += 1 / slow_rank(engine, user, item, by_name.__getitem__)
        engine.process([feed(event(user, item))])
    total = engine.prequential.total
    assert total.scored > known_before + 10
    assert total.ranking["neighbours"]["mrr"] == pytest.approx(expected, rel=1e-3)


def test_popularity_is_the_decayed_count_of_likes():
    engine = engine_with()
    feed, random, liked = Feed(), np.random.default_rng(4), []
    for _ in range(8):
        batch_of = [
            (int(random.integers(5)), int(random.integers(8)), random.random() < 0.8) for _ in range(15)
        ]
        engine.process(
            [
                feed(
                    *[
                        event(f"u{u}", f"i{i}") if like else event("x", f"i{i}", value=-1.0)
                        for u, i, like in batch_of
                    ]
                )
            ]
        )
        start = engine.model.clock - 15
        liked += [(start + n + 1, f"i{i}") for n, (_, i, like) in enumerate(batch_of) if like]
    items = engine.model.items
    for name, expected in decayed_counts(engine, liked).items():
        i = slot(items, name)
        age = engine.model.clock - items.counted_at[i]
        assert items.counts[i, COMMON] * 0.999**age == pytest.approx(expected)


@pytest.mark.parametrize("ranking", ["factors", "blend"])
def test_ranks_do_not_depend_on_what_comes_after(ranking):
    """Whatever the rest of the batch says, the same likes get the same ranks."""
    gains = []
    for before, after in (("", ""), ("", "dislike"), ("", "like"), ("like", "")):
        engine, feed = warmed(ranking=ranking)
        likes = [event("u1", f"i{n}") for n in range(12)]
        others = {
            "": [],
            "dislike": [event("u1", f"i{n}", value=-9.0) for n in range(12)],
            "like": [event("u1", f"i{n}") for n in range(12)],
        }
        live = engine.prequential.total.ranking["live"]["mrr"]
        engine.process([feed(*others[before], *likes, *others[after])])
        gains.append(round(engine.prequential.total.ranking["live"]["mrr"] - live, 9))
    assert gains[0] == gains[1] == gains[2] > 0
    assert engine.prequential.total.scored


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


def test_a_window_that_is_longer_than_the_setting_now_says_ends_with_its_next_event():
    engine, feed = warmed(window_events=1_000)
    before = engine.prequential.window.scored
    assert before > 20
    shorter = engine.settings.prequential.model_copy(update={"window_events": 20})
    engine = Engine(engine.settings.model_copy(update={"prequential": shorter}), engine.store)
    for n in range(30):
        engine.process([feed(event(f"v{n % 5}", f"i{n % 12}"))])
    prequential = engine.prequential
    assert [window.scored for window in prequential.completed][:2] == [before + 1, 20]
    assert sum(w.scored for w in (*prequential.completed, prequential.window)) == prequential.total.scored


def test_measurements_are_stored_and_go_on():
    engine, feed = warmed()
    restarted = Engine(engine.settings, engine.store)
    for one in (engine, restarted):
        assert one.prequential.pack() == engine.store.head().memo["prequential"]
    restarted.process([feed(*[event("u1", f"i{n}") for n in range(12)])])
    copy = Prequential(engine.settings.prequential, engine.settings.learning, blends=False)
    copy.restore(restarted.prequential.pack())
    assert (copy.total, copy.window, copy.completed) == (
        restarted.prequential.total,
        restarted.prequential.window,
        restarted.prequential.completed,
    )
    np.testing.assert_array_equal(copy.calibrations, restarted.prequential.calibrations)
    assert copy.calibrations[0, LOG_SCALE] != engine.prequential.calibrations[0, LOG_SCALE]


def test_measurements_of_other_models_begin_anew():
    measured, other = warmed(ranking="blend")[0].prequential, warmed()[0].prequential
    before = other.pack()
    other.restore(measured.pack())
    assert other.pack() == before
    assert (list(measured.total.ranking), list(other.total.ranking)) == (list(MODELS), list(MODELS[:2]))


def test_measurements_of_another_format_begin_anew():
    prequential = warmed()[0].prequential
    prequential.restore(b'{"k": 3, "total": {"scored": 7}}')
    assert prequential.pack() == warmed()[0].prequential.pack()


def test_errors_of_ratings_are_those_of_predictions_before_learning():
    engine = Engine(small_settings(learning={"algorithm": "sgd", "feedback": "explicit"}), MemoryStore())
    feed, errors, ratings = Feed(), [], []
    random = np.random.default_rng(2)
    for _ in range(60):
        user, item, rating = f"u{random.integers(5)}", f"i{random.integers(6)}", float(random.integers(1, 6))
        if slot(engine.model.users, user) >= 0 and slot(engine.model.items, item) >= 0:
            predicted = engine.model.globals["mean"][0] + score(engine.model, user, item)
            before = engine.prequential.total.ratings.absolute
            predicted = min(max(predicted, min(ratings)), max(ratings))
            engine.process([feed(event(user, item, value=rating))])
            errors.append(engine.prequential.total.ratings.absolute - before)
            assert errors[-1] == pytest.approx(abs(predicted - rating), abs=1e-4)
        else:
            engine.process([feed(event(user, item, value=rating))])
        ratings.append(rating)
        if len(ratings) == 30:
            engine = Engine(engine.settings, engine.store)
    assert engine.prequential.total.ratings.rated == 60
    engine.process([feed(event("u0", "i0", value=3.0), event("u0", "i0", "remove"))])
    assert engine.prequential.total.ratings.rated == 61
    assert len(errors) > 30


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_what_is_served_is_what_is_measured(algorithm):
    settings = small_settings(learning={"algorithm": algorithm, "feedback": "explicit"}, sgd={"step": 0.5})
    engine = Engine(settings, MemoryStore())
    feed, random, ends = Feed(), np.random.default_rng(4), 0
    replica = Replica(engine.store, settings.scoring, Bounds(3_000, 500, 1 << 20))
    for _ in range(200):
        u, i = random.integers(5), random.integers(6)
        user, item, rating = f"u{u}", f"i{i}", 5.0 if u % 2 or i % 2 else 1.0
        replica.load(engine.store.head())
        known, items = replica.user(user.encode()), replica.items([item.encode()])
        served = score_items(replica.catalogue, known, items, now_ms=0)[0]
        errors = engine.prequential.total.ratings
        before = errors.rated, errors.absolute
        engine.process([feed(event(user, item, value=rating))])
        if known and items[0] >= 0:
            assert errors.absolute - before[1] == pytest.approx(abs(served - rating), abs=1e-4)
            ends += served in (1, 5)
    assert ends > 5, "predictions beyond the scale"


def test_a_store_that_kept_the_range_of_ratings_with_the_measurements_goes_on_with_it():
    engine = Engine(small_settings(learning={"feedback": "explicit"}), MemoryStore())
    engine.process([Feed()(event("u", "i", value=4.0))])
    kept = engine.store.head().memo[PREQUENTIAL_MEMO]
    earlier = orjson.dumps(orjson.loads(kept) | {"ratings_seen": [0.5, 4.5]})
    engine.store.commit(Commit(2, memo={PREQUENTIAL_MEMO: earlier}))
    assert Engine(engine.settings, engine.store).model.globals["ratings_seen"].tolist() == [0.5, 4.5]


def test_large_catalogues_are_sampled_more_rarely():
    prequential = Prequential(
        PrequentialConfig(sample_every=20, work_max=1_000), LearningConfig(), blends=True
    )
    assert prequential.period(100, 32) == 20
    assert prequential.period(200_000, 32) == 11_200
