"""The two algorithms behind their one method, on a model of a few rows."""

import numpy as np
import pytest
import twins
from pipeline import Feed, event, history, portions, random_events, slot, small_settings

from state.memory import MemoryStore
from stream.engine import Engine
from stream.learner import AlsLearner, SgdLearner, create_learner


def engine_with(**sections):
    return Engine(small_settings(**sections), MemoryStore())


def test_the_settings_name_the_learner():
    assert isinstance(create_learner(small_settings()), AlsLearner)
    assert isinstance(create_learner(small_settings(learning={"algorithm": "sgd"})), SgdLearner)


def test_als_solves_users_against_old_items_then_items_against_new_users():
    """The last batch, done once more by the slow twin."""
    settings = small_settings(als={"recency": 0.8})
    engine = Engine(settings, MemoryStore())
    parts = portions(random_events(300, 20, 15), 40)
    for records in parts:
        engine.process([records])
    users, items = engine.model.users, engine.model.items
    old_items = items.vectors[: engine.model.item_count].copy()
    engine.process([Feed(offset=10_000)(event("u1", "i2"), event("u1", "i4", value=-2.0), event("u3", "i2"))])
    for name in ("u1", "u3"):
        expected = solved(users, slot(users, name), old_items, 0.8, settings.als)
        np.testing.assert_allclose(users.vectors[slot(users, name)], expected, rtol=2e-3, atol=2e-4)
    everyone = users.vectors[np.argsort(users.ordinals[users.slots])]
    for name in ("i2", "i4"):
        expected = solved(items, slot(items, name), everyone, 1.0, settings.als)
        np.testing.assert_allclose(items.vectors[slot(items, name)], expected, rtol=2e-3, atol=2e-4)


def solved(table, row, others, recency, config):
    ordinals, strengths = table.history(row)
    weights = twins.interaction_weights([strengths.tolist()], recency)
    confidences, values = np.array(weights).T
    return twins.solve_row(
        others, ordinals.tolist(), confidences, values, config.alpha, config.reg, config.reg_exponent
    )


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_first_vectors_follow_from_the_id_alone(algorithm):
    one, other = (engine_with(learning={"algorithm": algorithm, "norm_max": 1e-9}) for _ in range(2))
    one.process([Feed()(event("a", "x"), event("b", "x"))])
    other.process([Feed()(event("b", "y"), event("c", "x"), event("a", "y"))])
    for name in ("a", "b"):
        np.testing.assert_array_equal(
            one.model.users.vectors[slot(one.model.users, name)],
            other.model.users.vectors[slot(other.model.users, name)],
        )
    assert one.model.users.vectors[slot(one.model.users, "a")].any()


def test_sgd_journals_every_item_it_touched():
    """Negatives move rows that no event names: the journal alone must restore them."""
    engine = engine_with(learning={"algorithm": "sgd"}, sgd={"negatives": 5})
    feed = Feed()
    engine.process([feed(*[event(f"u{n}", f"i{n}") for n in range(30)])])
    before = engine.model.items.vectors.copy()
    engine.process([feed(event("u1", "i1"))])
    moved = np.flatnonzero((engine.model.items.vectors != before).any(axis=1))
    assert len(moved) > 1
    assert (engine.model.items.changed_at[moved] == 2).all()
    restarted = Engine(engine.settings, engine.store)
    np.testing.assert_array_equal(restarted.model.items.vectors, engine.model.items.vectors)


def test_the_ring_of_recent_items_is_state():
    engine = engine_with(learning={"algorithm": "sgd"})
    engine.process([Feed()(event("a", "x"), event("a", "y"), event("b", "x", value=-1.0))])
    restarted = Engine(engine.settings, engine.store)
    for one in (engine, restarted):
        assert one.model.globals["recent_state"].tolist() == [2, 2]
        assert one.model.globals["recent"][:2].tolist() == [0, 1]


def test_the_mean_of_ratings_is_state_and_follows_removes():
    engine = engine_with(learning={"algorithm": "sgd", "feedback": "explicit"})
    feed = Feed()
    engine.process([feed(event("a", "x", value=5.0), event("a", "y", value=2.0), event("b", "x", value=2.0))])
    engine.process([feed(event("a", "x", "remove"))])
    for one in (engine, Engine(engine.settings, engine.store)):
        assert one.model.globals["mean"] == pytest.approx([2.0, 2.0])


def test_only_als_remembers_the_users_of_items():
    for algorithm, expected in (("als", 1), ("sgd", 0)):
        engine = engine_with(learning={"algorithm": algorithm})
        engine.process([Feed()(event("a", "x"))])
        assert len(engine.model.items.history(0)[0]) == expected
        assert history(engine, "a") == [("x", 1.0)]
