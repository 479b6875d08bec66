"""Streaming explicit ALS: ratings predicted and learnt in turn, by twin."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import twins

from stream.events import Learnable
from stream.learning import refusal
from stream.learning.explicit_als import Histories, Penalties, Side, learn

USERS, ITEMS = 7, 9
OF_USER = Penalties(0.4, 0.05, 3.0, 0.9, 0.7, 5.0, 64.0, False)
OF_ITEM = OF_USER._replace(recency=1.0, level_recency=1.0, level_reg=math.inf)


@dataclass
class Case:
    """Random ratings by few users of few items; some are taken back."""

    rank: int = 3
    count: int = 120
    seed: int = 0
    history_max: int = 8
    norm_max: float = 64.0
    removing: bool = False
    mean: np.ndarray = field(default_factory=lambda: np.zeros(2))
    predictions: np.ndarray = field(default_factory=lambda: np.zeros(0))
    refused: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    def __post_init__(self):
        random = np.random.default_rng(self.seed)
        self.users, self.items = (
            random.integers(USERS, size=self.count),
            random.integers(ITEMS, size=self.count),
        )
        self.ratings = random.integers(1, 6, self.count).astype(np.float32)
        self.remove = np.zeros(self.count, np.bool_)
        if self.removing:
            self.take_back()
        self.positions, self.times = np.zeros(self.count, np.uint64), np.zeros(self.count, np.int64)
        self.user_side, self.item_side = (
            Side(
                random.normal(0, 0.5, (n, self.rank)).astype(np.float32),
                np.zeros(n, np.float32),
                self.empty(rows),
                penalties._replace(norm_max=self.norm_max),
            )
            for n, rows, penalties in ((USERS, self.users, OF_USER), (ITEMS, self.items, OF_ITEM))
        )

    def empty(self, rows):
        """Histories of nothing, with room for every event."""
        room = (np.arange(10) + 1) * self.count
        first = room - self.count
        others, ratings = np.zeros(room[-1], np.int64), np.zeros(room[-1], np.float32)
        return Histories(rows.astype(np.int64), first, first.copy(), room, others, ratings, self.history_max)

    def take_back(self, every=4):
        """Every so many events remove what an earlier one has added, one of the oldest or the newest."""
        taken = set()
        for e in range(every, self.count, every):
            back = e - 1 if e % 2 else max(0, e - 9)
            if back not in taken and not self.remove[back]:
                taken.add(back)
                self.remove[e] = True
                for column in (self.users, self.items, self.ratings):
                    column[e] = column[back]

    def learn(self, part=slice(None)):
        columns = self.users, self.items, self.ratings, self.remove, self.positions, self.times
        events = Learnable(*(column[part] for column in columns))
        sides = (
            side._replace(histories=side.histories._replace(segments=side.histories.segments[part]))
            for side in (self.user_side, self.item_side)
        )
        predictions, refused = learn(events, *sides, self.mean)
        self.predictions = np.concatenate((self.predictions, predictions))
        self.refused = np.concatenate((self.refused, refused))
        return self

    def twin(self):
        return twins.ExplicitAls(
            self.user_side.vectors,
            self.item_side.vectors,
            self.history_max,
            OF_USER,
            OF_ITEM,
        )

    def history(self, side, row):
        histories = (self.user_side, self.item_side)[side].histories
        part = slice(histories.first[row], histories.stop[row])
        return list(zip(histories.others[part].tolist(), histories.ratings[part].tolist(), strict=True))


@pytest.mark.parametrize("rank", [1, 3, 16, 17])
@pytest.mark.parametrize("removing", [False, True])
def test_ratings_are_predicted_and_learnt_as_the_twin_does(rank, removing):
    case = Case(rank, seed=rank, removing=removing)
    assert (case.remove.sum() > 10) == removing
    twin = case.twin()
    events = zip(case.users, case.items, case.ratings.tolist(), case.remove, strict=True)
    expected = [twin.learn(*event) for event in events]
    case.learn()
    np.testing.assert_allclose(case.predictions, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(case.user_side.vectors, twin.x, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(case.item_side.vectors, twin.y, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(case.user_side.biases, twin.user_biases, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(case.item_side.biases, twin.item_biases, rtol=1e-3, atol=1e-4)
    assert case.mean == pytest.approx([twin.mean, len(twin.ratings)])
    assert not case.refused.any()


def test_histories_keep_the_latest_ratings_of_each_row():
    case = Case(count=200, removing=True)
    twin = case.twin()
    for event in zip(case.users, case.items, case.ratings.tolist(), case.remove, strict=True):
        twin.learn(*event)
    case.learn()
    for side, histories in enumerate((twin.of_user, twin.of_item)):
        for row, expected in enumerate(histories):
            assert case.history(side, row) == expected
    assert max(map(len, twin.of_user)) == case.history_max


def test_how_events_fall_into_batches_changes_no_bit():
    whole, parts = Case(removing=True), Case(removing=True)
    whole.learn()
    for part in (slice(0, 1), slice(1, 50), slice(50, 120)):
        parts.learn(part)
    for name in ("predictions", "mean"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    for name in ("user_side", "item_side"):
        one, other = getattr(whole, name), getattr(parts, name)
        assert np.array_equal(one.vectors, other.vectors)
        assert np.array_equal(one.biases, other.biases)


def test_no_event_changes_nothing():
    case = Case()
    before = case.user_side.vectors.copy()
    case.learn(slice(0, 0))
    assert np.array_equal(case.user_side.vectors, before)


def test_a_row_without_ratings_becomes_zero():
    case = Case(count=2)
    case.users[:], case.items[:], case.ratings[:] = 1, 2, 4.0
    case.remove[1] = True
    case.user_side = case.user_side._replace(histories=case.empty(case.users))
    case.item_side = case.item_side._replace(histories=case.empty(case.items))
    case.learn()
    assert not case.user_side.vectors[1].any()
    assert not case.item_side.vectors[2].any()
    assert case.user_side.biases[1] == case.item_side.biases[2] == 0
    assert case.mean.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_rating_that_is_not_finite_changes_nothing(bad):
    case, good = Case(count=20), Case(count=20)
    case.ratings[7] = bad
    case.learn()
    good.learn(slice(0, 7))
    good.learn(slice(8, 20))
    assert case.refused.tolist() == [refusal.NOT_FINITE if e == 7 else refusal.ACCEPTED for e in range(20)]
    assert np.array_equal(case.user_side.vectors, good.user_side.vectors)
    assert np.array_equal(case.mean, good.mean)


def test_a_row_beyond_the_norm_limit_keeps_its_value():
    case = Case(count=1, norm_max=1e-6, mean=np.array([9.0, 4.0]))
    user, item = case.users[0], case.items[0]
    before = case.user_side.vectors.copy(), case.item_side.vectors.copy()
    case.learn()
    assert case.refused.tolist() == [refusal.NORM]
    assert np.array_equal(case.user_side.vectors[user], before[0][user])
    assert np.array_equal(case.item_side.vectors[item], before[1][item])
    assert case.user_side.biases[user] == case.item_side.biases[item] == 0


def test_a_row_that_would_not_be_finite_keeps_its_value_and_does_no_harm_to_the_next():
    case = Case(count=1)
    user, item = case.users[0], case.items[0]
    case.item_side.vectors[item] = np.nan
    before = case.user_side.vectors[user].copy()
    case.learn()
    assert case.refused.tolist() == [refusal.NOT_FINITE]
    assert np.array_equal(case.user_side.vectors[user], before)
    assert np.isfinite(case.item_side.vectors[item]).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("users", np.array([0, USERS])),
        ("users", np.array([-1, 0])),
        ("items", np.array([0, ITEMS])),
        ("ratings", np.zeros(2)),
        ("remove", np.zeros(2, np.uint8)),
        ("mean", np.zeros(3)),
        ("positions", np.zeros(2, np.int64)),
    ],
)
def test_the_door_refuses_what_the_kernel_would_read_wrongly(name, value):
    case = Case(count=2)
    setattr(case, name, value)
    with pytest.raises(AssertionError):
        case.learn()


@pytest.mark.parametrize(
    "change",
    [
        {"vectors": np.zeros((USERS, 4), np.float32)},
        {"vectors": np.zeros((USERS, 3))},
        {"biases": np.zeros(3, np.float32)},
    ],
)
def test_the_door_refuses_rows_of_another_shape(change):
    case = Case(count=2)
    case.user_side = case.user_side._replace(**change)
    with pytest.raises(AssertionError):
        case.learn()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("segments", np.array([0, 10])),
        ("others", np.full(20, ITEMS)),
        ("room", np.arange(10)),
        ("stop", np.full(10, -1)),
        ("ratings", np.zeros(3, np.float32)),
        ("most", 0),
    ],
)
def test_the_door_refuses_histories_without_room_or_beyond_the_rows(name, value):
    case = Case(count=2)
    case.user_side = case.user_side._replace(histories=case.user_side.histories._replace(**{name: value}))
    with pytest.raises(AssertionError):
        case.learn()
