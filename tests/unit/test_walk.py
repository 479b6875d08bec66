"""The pass over the events: what it counts it can take back, and it ranks as a replay does."""

import numpy as np
import pytest
from pipeline import Feed, event, slot, small_settings
from streams import random_likes, settings, stream

from state.memory import MemoryStore
from state.scoring import popularity
from state.scoring.popularity import EVER
from stream.drift.frozen import no_comparison
from stream.engine import Engine
from stream.evaluation.experts import Blend, Query
from stream.events import Learnable
from stream.replay import Plan, Replay
from stream.step import NO_DESCENT, NO_PENALTIES
from stream.walk.judging import REFRESH_EVENTS
from stream.walk.values import MODELS, Chosen, Options, no_scalars
from stream.walk.walk import Walk


def engine_with(**sections):
    return Engine(small_settings(**sections), MemoryStore())


def liked(engine, feed, rows):
    """The events, each as a micro-batch."""
    for row in rows:
        engine.process([feed(event(row["user_id"], row["item_id"]))])


def lists(engine):
    """owner -> {other: (forward, backward)}."""
    found = engine.model.neighbours.lists
    return {
        owner: {
            int(found.other[owner, n]): (int(found.forward[owner, n]), int(found.backward[owner, n]))
            for n in range(found.length[owner])
        }
        for owner in range(engine.model.item_count)
    }


@pytest.mark.parametrize("in_one_batch", [False, True])
def test_a_remove_takes_back_neighbours_and_counts(in_one_batch):
    engine, feed = engine_with(), Feed()
    liked(engine, feed, random_likes(60, 5, 12))
    engine.process([feed(event("late", "i1"), event("late", "i2"))])
    before, counts = lists(engine), engine.model.items.counts[:, EVER].copy()
    events = [feed(event("late", "i4")), feed(event("late", "i4", "remove"))]
    if in_one_batch:
        events = [feed(event("late", "i4"), event("late", "i4", "remove"))]
    for records in events:
        if records is not events[-1] and not in_one_batch:
            engine.process([records])
            assert lists(engine) != before
        else:
            engine.process([records])
    assert lists(engine) == before
    assert np.array_equal(engine.model.items.counts[:, EVER], counts)


def test_a_remove_in_the_middle_takes_back_what_came_after_it_too():
    engine, feed = engine_with(), Feed()
    engine.process([feed(*(event("a", name) for name in "xyz"))])
    engine.process([feed(event("a", "y", "remove"))])
    x, y, z = (slot(engine.model.items, name) for name in "xyz")
    assert lists(engine) == {x: {z: (12, 0)}, y: {}, z: {x: (0, 12)}}


def test_dislikes_are_no_neighbours_and_count_nothing():
    engine, feed = engine_with(), Feed()
    engine.process([feed(event("a", "x"), event("a", "y", value=-1.0), event("a", "z"))])
    x, y, z = (slot(engine.model.items, name) for name in "xyz")
    assert lists(engine) == {x: {z: (20, 0)}, y: {}, z: {x: (0, 20)}}
    assert engine.model.items.counts[:3, EVER].tolist() == [1, 0, 1]


def test_the_service_ranks_as_a_replay_does():
    """The same events one by one: they differ in when popularity is brought up to date, and so hardly."""
    rows = random_likes(3 * REFRESH_EVENTS, 12, 30)
    engine = Engine(
        small_settings(
            learning={"rank": 4},
            state={"history_max": 100},
            prequential={"sample_every": 1, "work_max": 10**9, "window_events": 1_000},
        ),
        MemoryStore(),
    )
    liked(engine, Feed(), rows)
    replay = Replay(stream(rows), settings(), Plan(models=["live"]))
    while replay.advance():
        pass
    ranks = replay.result().scores.ranks["live"][replay.result().scores.warm]
    total = engine.prequential.total
    assert total.scored == len(ranks) > 50
    live, popular = (total.ranking[name] for name in ("live", "popularity"))
    assert live["mrr"] == pytest.approx(float((1 / ranks).sum()), rel=0.1)
    assert live["mrr"] != pytest.approx(popular["mrr"], rel=0.1)


def test_weights_are_learnt_by_the_blend_alone():
    for ranking, moves in (("blend", True), ("factors", False)):
        engine = engine_with(ranking={"model": ranking})
        before = engine.model.globals["weights"].copy()
        liked(engine, Feed(), random_likes(80, 5, 12))
        assert np.array_equal(engine.model.globals["weights"], before) != moves
        assert any(lists(engine).values()) == moves


@pytest.mark.parametrize("ranking", ["blend", "factors"])
def test_sgd_and_the_blend_share_one_ring_of_recent_items(ranking):
    engine = engine_with(learning={"algorithm": "sgd"}, ranking={"model": ranking})
    rows = random_likes(30, 5, 12)
    liked(engine, Feed(), rows)
    model = engine.model
    assert model.globals["recent_state"].tolist() == [30, 30]
    held = [slot(model.items, row["item_id"]) for row in rows]
    assert model.globals["recent"][:30].tolist() == held
    assert model.recent_times[:12].tolist() == np.bincount(held, minlength=12).tolist()


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_norms_follow_the_vectors(algorithm):
    engine = engine_with(learning={"algorithm": algorithm, "rank": 4})
    liked(engine, Feed(), random_likes(60, 5, 12))
    items = engine.model.items
    norms = np.linalg.norm(items.vectors[: engine.model.item_count], axis=1)
    np.testing.assert_allclose(items.inverse_norms[: len(norms)] * norms, 1.0, rtol=1e-5)


def test_first_likes_teach_what_newcomers_like_and_nothing_else():
    engine, feed = engine_with(), Feed()
    values = engine.model.globals
    liked(
        engine, feed, [{"user_id": user, "item_id": item} for user, item in zip("abcd", "wxyz", strict=True)]
    )
    of_newcomers, of_known = values["newcomer_weights"].copy(), values["weights"].copy()
    assert np.array_equal(of_newcomers, popularity.first_weights()), "nothing can be learnt of a new item"
    liked(engine, feed, [{"user_id": user, "item_id": "w"} for user in "efghi"])
    assert not np.array_equal(values["newcomer_weights"], of_newcomers)
    assert np.array_equal(values["weights"], of_known)
    of_newcomers = values["newcomer_weights"].copy()
    liked(engine, feed, [{"user_id": user, "item_id": "x"} for user in "efghi"])
    assert np.array_equal(values["newcomer_weights"], of_newcomers)
    assert not np.array_equal(values["weights"], of_known)


def test_strangers_are_ranked_by_what_newcomers_like():
    rows = [{"user_id": f"u{n}", "item_id": f"i{n % 7 if n % 3 else 0}"} for n in range(300)]
    replay = Replay(stream(rows), settings(), Plan(models=["live"]))
    while replay.advance():
        pass
    values, items = replay.model.globals, replay.model.items
    scalars = np.empty(replay.model.item_count)
    expert = Blend(replay.model, no_scalars(replay.model.items_max), repeats=False)
    answer = expert.answer(Query(replay.model.item_count, -1, np.zeros(0, np.int64), 0))
    popularity.scalars(
        items.counts, items.counted_at, replay.model.clock, values["newcomer_weights"], scalars
    )
    assert np.array_equal(answer.scores, scalars)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("users", np.array([0, -1])),
        ("users", np.array([0, 10**6])),
        ("items", np.array([0, 10**6])),
        ("strengths", np.zeros(2)),
        ("strengths", np.zeros(4, np.float32)[::2]),
        ("remove", np.zeros(2, np.uint8)),
        ("positions", np.zeros(2, np.int64)),
        ("times_ms", np.zeros(3, np.int64)),
    ],
)
def test_the_door_refuses_what_the_walk_would_read_wrongly(name, value):
    model, none = engine_with().model, np.zeros(2, np.int64)
    options = Options(False, False, False, False, False, False, 1.0, NO_PENALTIES, NO_DESCENT, 1)

    def door(events, ranked):
        chosen = Chosen(ranked, np.zeros(2, np.bool_), cold=False)
        calibrations = np.zeros((len(MODELS), 3))
        judges = calibrations, no_comparison()
        Walk(model, options)(events, chosen, *judges, (0, 0), none[:1], learns=False)

    whole = Learnable(
        none, none, np.zeros(2, np.float32), none.astype(np.bool_), none.astype(np.uint64), none
    )
    door(whole, whole.remove)
    with pytest.raises(AssertionError):
        door(whole._replace(**{name: value}), whole.remove)
    with pytest.raises(AssertionError):
        door(whole, whole.remove[:1])
    model.globals["recent_state"][:] = 1
    with pytest.raises(AssertionError):
        door(whole, whole.remove)
