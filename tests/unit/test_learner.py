"""The two algorithms behind their one method, on a model of a few rows."""

import math

import hypothesis
import numpy as np
import pytest
import twins
from hypothesis import given
from hypothesis import strategies as st
from pipeline import Feed, event, history, portions, random_events, slot, small_settings
from scipy.optimize import nnls

from state.memory import MemoryStore
from stream.engine import Engine
from stream.learning.explicit_als import Penalties
from stream.learning.learner import ExplicitAlsLearner, ExplicitSgdLearner, WalkLearner, create_learner


def engine_with(**sections):
    return Engine(small_settings(**sections), MemoryStore())


def test_the_settings_name_the_learner():
    als = create_learner(small_settings())
    assert isinstance(als, WalkLearner)
    assert (als.penalties is None, als.descent is None) == (False, True)
    sgd = create_learner(small_settings(learning={"algorithm": "sgd"}))
    assert isinstance(sgd, WalkLearner)
    assert (sgd.penalties is None, sgd.descent is None) == (True, False)
    explicit = {"feedback": "explicit"}
    assert isinstance(create_learner(small_settings(learning=explicit)), ExplicitAlsLearner)
    explicit["algorithm"] = "sgd"
    assert isinstance(create_learner(small_settings(learning=explicit)), ExplicitSgdLearner)


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


def ratings(count=400):
    """Ratings by few users of few items, so that histories overflow; some are taken back."""
    random = np.random.default_rng(5)
    values = []
    for n in range(count):
        user, item = f"u{random.integers(9)}", f"i{random.integers(15)}"
        removing = n % 7 == 6
        values.append(event(user, item, "remove" if removing else "", None if removing else 1.0 + n * n % 5))
    return values


def explicit_engine():
    """Explicit ALS with histories of 12 ratings, fewer than a user and an item have here."""
    return engine_with(learning={"feedback": "explicit"})


def learnt(batch):
    """An engine that has learnt `ratings` in batches of so many."""
    engine, feed, values = explicit_engine(), Feed(), ratings()
    for start in range(0, len(values), batch):
        engine.process([feed(*values[start : start + batch])])
    return engine


@pytest.mark.parametrize("batch", [7, 400])
def test_how_ratings_fall_into_batches_changes_no_bit(batch):
    """So no prediction knows of a rating of its own batch that comes later, or of itself."""
    one_by_one, engine = learnt(1), learnt(batch)
    for table, other in (
        (engine.model.users, one_by_one.model.users),
        (engine.model.items, one_by_one.model.items),
    ):
        assert np.array_equal(table.vectors, other.vectors)
        assert np.array_equal(table.bias, other.bias)
    assert np.array_equal(engine.model.globals["mean"], one_by_one.model.globals["mean"])
    assert engine.prequential.total.ratings.rated == one_by_one.prequential.total.ratings.rated > 300
    for name in ("absolute", "squared"):
        errors = [getattr(e.prequential.total.ratings, name) for e in (engine, one_by_one)]
        assert errors[0] == pytest.approx(errors[1], rel=1e-9)


def test_rows_of_the_last_rating_are_fresh_solves_of_their_histories():
    """After a rating and after a `remove`, which leaves no trace of what it takes back."""
    engine = learnt(40)
    feed = Feed(offset=10_000)
    for value in (event("u1", "i2", value=5.0), event("u1", "i2", "remove")):
        user, item = slot(engine.model.users, "u1"), slot(engine.model.items, "i2")
        items, item_biases = engine.model.items.vectors.copy(), engine.model.items.bias.copy()
        engine.process([feed(value)])
        model, config = engine.model, engine.settings.als
        ridges = config.explicit_reg, config.explicit_reg_per_rating, config.explicit_reg_bias
        mean = model.globals["mean"][0]
        ordinals, values = model.users.history(user)
        penalties = Penalties(
            *ridges,
            config.explicit_recency,
            config.explicit_level_recency,
            config.explicit_level_reg,
            norm_max=64.0,
            nonneg=False,
        )
        expected = twins.explicit_row(items, item_biases, ordinals, values, mean, penalties)
        assert_row(model.users, user, *expected)
        ordinals, values = model.items.history(item)
        users = model.users.find_ordinals(ordinals)
        penalties = penalties._replace(recency=1.0, level_recency=1.0, level_reg=math.inf)
        expected = twins.explicit_row(model.users.vectors, model.users.bias, users, values, mean, penalties)
        assert_row(model.items, item, *expected)


def assert_row(table, row, bias, vector):
    np.testing.assert_allclose(table.vectors[row], vector, rtol=1e-3, atol=1e-5)
    assert table.bias[row] == pytest.approx(bias, rel=1e-3, abs=1e-5)


FEEDBACK = ("implicit", "explicit")


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
@pytest.mark.parametrize("feedback", FEEDBACK)
@given(seed=st.integers(0, 2**32), batch=st.sampled_from([1, 7, 60]))
@hypothesis.settings(max_examples=8, deadline=None)
def test_no_component_is_ever_negative(algorithm, feedback, seed, batch):
    """With `nonneg`, after every batch, through likes, dislikes, ratings and removes."""
    engine = engine_with(learning={"algorithm": algorithm, "feedback": feedback, "nonneg": True})
    for records in portions(random_events(120, 12, 9, seed=seed), batch):
        engine.process([records])
        for table in (engine.model.users, engine.model.items):
            assert (table.vectors >= 0).all()


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
@pytest.mark.parametrize("feedback", FEEDBACK)
def test_vectors_without_negative_components_learn_tastes(algorithm, feedback):
    """Two circles of users, each with items of its own, are told apart."""
    engine = engine_with(learning={"algorithm": algorithm, "feedback": feedback, "nonneg": True})
    feed, random = Feed(), np.random.default_rng(1)
    for _ in range(40):
        users, items = random.integers(24, size=30), random.integers(16, size=30)
        if feedback == "implicit":
            items += (users + items) % 2
        values = 1.0 + 4.0 * ((users + items) % 2 == 0)
        rated = zip(users, items, values, strict=True)
        engine.process([feed(*[event(f"u{u}", f"i{i}", value=v) for u, i, v in rated])])
    users, items = (
        table.vectors[[slot(table, f"{letter}{n}") for n in range(count)]]
        for table, letter, count in ((engine.model.users, "u", 24), (engine.model.items, "i", 16))
    )
    own = np.add.outer(np.arange(24), np.arange(16)) % 2 == 0
    products = users @ items.T
    assert products[own].mean() > 1.3 * products[~own].mean()


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
@pytest.mark.parametrize("feedback", FEEDBACK)
def test_first_vectors_are_not_negative_either(algorithm, feedback):
    """They remain where every update is refused."""
    engine = engine_with(
        learning={"algorithm": algorithm, "feedback": feedback, "nonneg": True, "norm_max": 1e-9}
    )
    engine.process([Feed()(event("a", "x", value=2.0), event("a", "y", value=5.0))])
    assert (engine.model.users.vectors >= 0).all()
    assert engine.model.users.vectors.any()


@pytest.mark.parametrize("feedback", FEEDBACK)
def test_without_nonneg_components_do_become_negative(feedback):
    engine = engine_with(learning={"feedback": feedback})
    engine.process(portions(random_events(120, 12, 9), 120))
    assert (engine.model.items.vectors < 0).any()


@pytest.mark.parametrize("side", ["user", "item"])
def test_nonnegative_als_rows_are_the_best_there_are(side):
    """Those of the last batch against SciPy: users against the old items, items against the new users."""
    engine = engine_with(learning={"nonneg": True})
    for records in portions(random_events(200, 20, 15), 40):
        engine.process([records])
    users, items, config = engine.model.users, engine.model.items, engine.settings.als
    old_items = items.vectors[: engine.model.item_count].copy()
    engine.process([Feed(offset=10_000)(event("u1", "i2"), event("u3", "i4", value=-2.0))])
    everyone = users.vectors[np.argsort(users.ordinals[users.slots])]
    for name in ("u1", "u3") if side == "user" else ("i2", "i4"):
        table, others, recency = (
            (users, old_items, config.recency) if side == "user" else (items, everyone, 1.0)
        )
        row = slot(table, name)
        expected = nonnegative(table, row, others, recency, config)
        np.testing.assert_allclose(table.vectors[row], expected, rtol=2e-3, atol=2e-4)


def nonnegative(table, row, others, recency, config):
    """The ALS row of the twin's loss by SciPy: |Rx - R⁻ᵀb|² is the loss for A = RᵀR."""
    ordinals, strengths = table.history(row)
    confidences, values = np.array(twins.interaction_weights([strengths.tolist()], recency)).T
    y = others.astype(np.float64)
    ridge = config.reg * (len(ordinals) + config.alpha * len(y)) ** config.reg_exponent
    matrix = config.alpha * y.T @ y + ridge * np.eye(y.shape[1]) + (y[ordinals].T * confidences) @ y[ordinals]
    root = np.linalg.cholesky(matrix).T
    return nnls(root, np.linalg.solve(root.T, y[ordinals].T @ values))[0]
