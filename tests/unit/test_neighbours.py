"""Lists of neighbours: learnt and read as their twin does, bounded, and sparing what is frequent."""

import numpy as np
import pytest
import twins

from state import neighbours
from state.scoring.neighbours import cosine_scores, directed_scores


def replay(events, items, slots):
    """Lists and twin after (user, item) events, with every user's items and the items' counts."""
    lists, twin = neighbours.empty_lists(items, slots), twins.Neighbours(slots)
    histories, counts = {}, np.zeros(items)
    for user, item in events:
        last = np.array(histories.setdefault(user, [])[::-1][: neighbours.LAST], np.int64)
        neighbours.learn(lists, item, last)
        twin.learn(item, last.tolist())
        histories[user].append(item)
        counts[item] += 1
    return lists, twin, histories, counts


def stream(count, items, seed):
    random = np.random.default_rng(seed)
    users, others = random.integers(0, 6, count), random.integers(0, items, count)
    return list(zip(users.tolist(), others.tolist(), strict=True))


@pytest.mark.parametrize("slots", [1, 3, 100])
def test_lists_are_those_of_the_twin(slots):
    lists, twin, _, _ = replay(stream(300, 12, seed=slots), 12, slots)
    for owner in range(12):
        entries = twin.lists[owner]
        length = lists.length[owner]
        assert lists.other[owner, :length].tolist() == [other for other, _, _ in entries]
        np.testing.assert_allclose(lists.forward[owner, :length], [f for _, f, _ in entries], rtol=1e-5)
        np.testing.assert_allclose(lists.backward[owner, :length], [b for _, _, b in entries], rtol=1e-5)
        assert length <= slots


def test_the_experts_score_what_lies_in_the_lists():
    lists, twin, histories, counts = replay(stream(200, 10, seed=5), 10, 100)
    last = np.array(histories[0][::-1][: neighbours.LAST], np.int64)
    cosine, directed = np.full(10, np.nan), np.full(10, np.nan)
    cosine_scores(lists, counts, last, cosine)
    directed_scores(lists, counts, last, directed)
    expected = np.zeros((2, 10))
    for weight, owner in zip(twins.NEIGHBOUR_WEIGHTS, last.tolist(), strict=True):
        for other, forward, backward in twin.lists[owner]:
            expected[0, other] += weight * (forward + backward) / 20 / np.sqrt(counts[owner] * counts[other])
            expected[1, other] += weight * forward / 20 / (counts[owner] + 10)
    np.testing.assert_allclose([cosine, directed], expected, rtol=1e-5)


def test_a_frequent_neighbour_survives_a_flood_of_rare_ones():
    lists = neighbours.empty_lists(500, 10)
    for rare in range(2, 500):
        if rare % 5 == 0:
            neighbours.learn(lists, 1, np.array([0], np.int64))
        neighbours.learn(lists, rare, np.array([0], np.int64))
    assert 1 in lists.other[0].tolist()
    assert lists.length[0] == 10
    # What space-saving counts in all is what there was.
    assert lists.forward[0].sum() == (498 + 99) * neighbours.UNITS[0]


def test_an_item_is_no_neighbour_of_itself():
    lists = neighbours.empty_lists(3)
    neighbours.learn(lists, 2, np.array([2, 1], np.int64))
    assert lists.length.tolist() == [0, 1, 1]
    assert lists.forward[1, 0] == neighbours.UNITS[1]
    assert lists.backward[2, 0] == neighbours.UNITS[1]


def test_nobody_without_items_has_neighbours():
    lists = neighbours.empty_lists(3)
    neighbours.learn(lists, 2, np.zeros(0, np.int64))
    assert not lists.length.any()
    scores = np.full(3, np.nan)
    cosine_scores(lists, np.zeros(3), np.zeros(0, np.int64), scores)
    assert scores.tolist() == [0.0, 0.0, 0.0]
