"""The ranking score and its weights: by twin, exact in its top K, and deterministic."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import twins

from state import neighbours
from state.scoring import blend, popularity
from state.scoring.neighbours import FEATURES
from stream.learning import blend as learning
from stream.learning.popularity import count_like
from stream.learning.recent import Recent, remember

RANK = 6
ITEMS = 40
SEED = 3
PACE = -0.3


@dataclass
class World:
    """A small stream learnt by the kernels, and remembered for the twins."""

    events: int = 400
    users: int = 8
    slots: int = 7
    ring: int = 50
    seed: int = 0
    numbered: list = field(default_factory=list)
    histories: dict = field(default_factory=dict)

    def __post_init__(self):
        random = np.random.default_rng(self.seed)
        self.user_vectors = random.normal(size=(self.users, RANK)).astype(np.float32)
        vectors = random.normal(size=(ITEMS, RANK)).astype(np.float32)
        vectors[5] = 0
        norms = np.array([blend.inverse_norm(vectors, i) for i in range(ITEMS)], np.float32)
        self.catalogue = blend.Catalogue(
            vectors,
            norms,
            np.zeros((ITEMS, len(popularity.DECAYS))),
            np.zeros(ITEMS, np.int64),
            neighbours.empty_lists(ITEMS, self.slots),
        )
        self.recent = Recent(np.zeros(self.ring, np.int64), np.zeros(2, np.int64), np.zeros(ITEMS, np.int32))
        self.place = np.full(ITEMS, -1, np.int32)
        self.twin = twins.Neighbours(self.slots)
        for clock in range(1, self.events + 1):
            user, item = int(random.integers(self.users)), int(ITEMS * random.random() ** 2)
            last = self.last(user)
            neighbours.learn(self.catalogue.lists, item, last)
            self.twin.learn(item, last.tolist())
            count_like(self.catalogue.counts, self.catalogue.counted_at, item, clock)
            remember(self.recent, item)
            self.numbered.append((clock, item))
            self.histories.setdefault(user, []).append(item)

    def history(self, user):
        return np.array(self.histories.get(user, []), np.uint32)

    def last(self, user):
        history = self.history(user)
        return blend.last_liked(history, np.ones(len(history), np.float32))

    def counts(self):
        return self.catalogue.counts[:, popularity.EVER]

    def sparse(self, user, repeats=False):
        return blend.sparse_part(
            self.catalogue,
            self.last(user),
            self.history(user),
            np.ones(len(self.history(user)), np.float32),
            float(self.events),
            PACE,
            repeats,
            self.place,
        )

    def interests(self, user):
        out = np.full((blend.INTERESTS, RANK), np.nan, np.float32)
        blend.interests(self.user_vectors, user, self.catalogue, self.last(user), PACE, out)
        return out

    def known(self, user, repeats):
        none = np.zeros(0, np.int64)
        return blend.Known(self.interests(user), self.last(user), self.sparse(user, repeats), none)

    def learn(self, learnt, user, item, position, repeats=False):
        excluded = np.zeros(0, np.uint32) if repeats else self.history(user)
        learning.learn(
            learnt,
            self.catalogue,
            self.known(user, repeats),
            item,
            excluded,
            self.events,
            ITEMS,
            self.recent,
            np.uint64(position),
            SEED,
            self.place,
        )

    def expected_features(self, user, repeats):
        """All features float64 [items, d] as the twins have them."""
        last, history = self.last(user).tolist(), self.histories.get(user, [])
        items = [twins.normed(vector) for vector in self.catalogue.vectors]
        of_last = [items[item] for item in last] or [np.zeros(RANK)]
        base = [twins.normed(self.user_vectors[user]), np.mean(of_last, axis=0), of_last[0]]
        near = self.twin.features(self.counts(), self.events, last)
        rows = []
        for item in range(ITEMS):
            row = [pace * (vector @ items[item]) for pace in (1, PACE) for vector in base]
            row += twins.popularity_features(self.numbered, item, self.events)
            of_lists = near.get(item, [0.0] * FEATURES)
            row += [pace * feature for pace in (1, PACE) for feature in of_lists]
            if repeats:
                steps = [back for back, other in enumerate(history[::-1], 1) if other == item]
                row += [1.0, np.log1p(steps[0]), np.log(len(steps))] if steps else [0.0] * 3
            rows.append(row)
        return np.array(rows)

    def scores(self, user, weights, repeats):
        scalars = np.empty(ITEMS)
        of_popularity = weights[blend.POPULARITY : blend.NEIGHBOURS]
        popularity.scalars(
            self.catalogue.counts, self.catalogue.counted_at, self.events, of_popularity, scalars
        )
        out = np.full(ITEMS, np.nan)
        blend.score_all(self.catalogue, self.known(user, repeats), scalars, weights, out)
        return out


@pytest.fixture(scope="module")
def world():
    return World()


def first():
    return learning.Weights(blend.first_weights(), np.eye(blend.SIZE_REPEATS))


def random_weights(repeats, seed=1):
    size = blend.SIZE_REPEATS if repeats else blend.SIZE
    return np.random.default_rng(seed).normal(size=size)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("user", [0, 3])
def test_features_agree_with_their_twin(world, user, repeats):
    sparse = world.sparse(user, repeats)
    place = np.full(ITEMS, -1, np.int32)
    place[sparse.items] = np.arange(len(sparse.items))
    everything = np.arange(ITEMS, dtype=np.int64)
    found = learning.features(everything, world.catalogue, world.interests(user), world.events, sparse, place)
    np.testing.assert_allclose(found, world.expected_features(user, repeats), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("user", [0, 3])
def test_the_score_is_the_weighted_sum_of_the_features(world, user, repeats):
    weights = random_weights(repeats)
    expected = world.expected_features(user, repeats) @ weights
    np.testing.assert_allclose(world.scores(user, weights, repeats), expected, rtol=1e-4, atol=1e-4)


def test_a_user_without_history_is_scored_by_taste_and_popularity_alone():
    stranger = World(events=0)
    assert len(stranger.sparse(0).items) == 0
    assert not stranger.interests(0)[1 : blend.TASTES].any()
    np.testing.assert_allclose(stranger.scores(0, random_weights(False), False)[5], stranger_popularity())


def stranger_popularity():
    """Score of an item without vector and likes: less than that of one with a like when all began."""
    weights = random_weights(False)[blend.POPULARITY : blend.NEIGHBOURS]
    return weights @ np.log1p(list(popularity.SMOOTHERS) * 5) - popularity.UNLIKED


def test_the_ring_knows_how_often_an_item_is_in_it(world):
    latest = [item for _, item in world.numbered[-world.ring :]]
    assert sorted(world.recent.items.tolist()) == sorted(latest)
    assert world.recent.times.tolist() == [latest.count(item) for item in range(ITEMS)]


def drawn(world, user, positive, positions, repeats=False):
    sparse = world.sparse(user, repeats)
    place = np.full(ITEMS, -1, np.int32)
    place[sparse.items] = np.arange(len(sparse.items))
    excluded = np.zeros(0, np.uint32) if repeats else world.history(user)
    return [
        learning.sample(
            np.uint64(position),
            SEED,
            positive,
            excluded,
            ITEMS,
            world.recent,
            sparse.items,
            sparse.draws,
            place,
        )
        for position in positions
    ]


@pytest.mark.parametrize("repeats", [False, True])
def test_negatives_are_drawn_as_often_as_the_correction_says(world, repeats):
    positions = 3000
    times, expected = np.zeros(ITEMS), np.zeros(ITEMS)
    for chosen in drawn(world, 0, 39, range(positions), repeats):
        assert chosen.items[0] == 39
        assert chosen.log_expected[0] == 0
        np.add.at(times, chosen.items[1:], 1)
        expected[chosen.items[1:]] = np.exp(chosen.log_expected[1:])
    # Counts of independent draws have at most the spread of Poisson's.
    seen = times > 0
    spread = np.sqrt(expected[seen] / positions)
    assert (np.abs(times[seen] / positions - expected[seen]) < 5 * spread).all()
    assert not seen[39]
    assert seen.sum() > ITEMS / 4
    if not repeats:
        assert not seen[np.unique(world.history(0))].any()


def test_what_is_drawn_depends_on_the_position(world):
    one, again, other = drawn(world, 0, 39, [7, 7, 8])
    assert one.items.tolist() == again.items.tolist() != other.items.tolist()


def test_a_newton_step_is_that_of_the_twin():
    random = np.random.default_rng(2)
    weights, curvature = random.normal(size=9), np.eye(9)
    learnt = learning.Weights(weights.copy(), curvature.copy())
    for _ in range(20):
        candidates, log_expected = random.normal(size=(12, 9)), random.normal(size=12)
        weights, curvature = twins.newton_step(
            weights, curvature, candidates, log_expected, learning.FORGETTING, learning.RIDGE
        )
        learning.newton_step(learnt, candidates.copy(), log_expected)
    np.testing.assert_allclose(np.tril(learnt.curvature), np.tril(curvature), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(learnt.weights, weights, rtol=1e-8)


def test_the_first_like_of_a_user_is_explained_by_popularity_alone(world):
    learnt = learning.Weights(popularity.first_weights(), np.eye(popularity.FEATURES))
    none = np.zeros(0, np.int64)
    expected = popularity.first_weights(), np.eye(popularity.FEATURES)
    for position in range(5):
        args = np.uint64(position), SEED
        chosen = learning.sample(*args, 39, none, ITEMS, world.recent, none, np.zeros(0), world.place)
        assert len(chosen.items) > 1 + learning.UNIFORM + learning.RECENT
        rows = [twins.popularity_features(world.numbered, item, world.events) for item in chosen.items]
        expected = twins.newton_step(
            *expected, np.array(rows), chosen.log_expected, learning.FORGETTING, learning.RIDGE
        )
        learning.learn_newcomer(
            learnt, world.catalogue, 39, world.events, ITEMS, world.recent, *args, world.place
        )
    np.testing.assert_allclose(learnt.weights, expected[0], rtol=1e-6)


def test_a_step_that_is_not_finite_is_not_made():
    learnt = first()
    before = learnt.weights.copy(), learnt.curvature.copy()
    candidates = np.ones((3, blend.SIZE))
    candidates[1, 4] = np.nan
    learning.newton_step(learnt, candidates, np.zeros(3))
    assert np.array_equal(learnt.weights, before[0])
    assert np.array_equal(learnt.curvature, before[1])


@pytest.mark.parametrize("repeats", [False, True])
def test_learning_makes_what_happened_more_likely(world, repeats):
    learnt = first()
    before = world.scores(0, learnt.weights, repeats)
    for position in range(30):
        world.learn(learnt, 0, 39, position, repeats)
    after = world.scores(0, learnt.weights, repeats)
    assert (after > after[39]).sum() < (before > before[39]).sum()
    assert (world.place == -1).all()


def test_the_same_positions_teach_the_same_bits(world):
    one, two, other = (first() for _ in range(3))
    for learnt, positions in ((one, range(5)), (two, range(5)), (other, range(1, 6))):
        for position in positions:
            world.learn(learnt, 1, 30, position)
    assert np.array_equal(one.weights, two.weights)
    assert np.array_equal(one.curvature, two.curvature)
    assert not np.array_equal(one.weights, other.weights)


def test_an_event_without_negatives_teaches_nothing():
    lonely = World(events=0)
    learnt = first()
    everything = np.arange(ITEMS, dtype=np.int64)
    lonely.histories[0] = everything.tolist()
    lonely.learn(learnt, 0, 39, 1)
    assert np.array_equal(learnt.weights, first().weights)


def test_the_pace_grows_with_the_gap_and_knows_no_negative_one():
    paces = [blend.pace(gap_ms) for gap_ms in (-5, 0, 60_000, 86_400_000, 30 * 86_400_000)]
    assert paces[0] == paces[1] == -0.5
    assert paces == sorted(paces)
    assert paces[-1] < 0.6
