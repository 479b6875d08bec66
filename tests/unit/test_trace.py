"""What a trace counts, by hand."""

import math

import numpy as np
import pytest
from streams import pairs, settings

from stream.evaluation.ranking import LOG_SCALE, SHARE, Answer, Calibration
from stream.evaluation.trace import CHOOSERS, Trace, top_items
from stream.replay import Plan, Replay


def observed(trace: Trace, event: int, scores: list[float], item: int, candidate: list[bool] | None = None):
    mask = np.array(candidate or [True] * len(scores))
    trace.observe(event, Answer(np.array(scores), are_counts=False), Calibration(), item, mask)


def test_top_items_are_the_best_candidates_and_of_equal_ones_the_older():
    scores = np.array([1.0, 3.0, 2.0, 3.0, 9.0])
    candidate = np.array([True, True, True, True, False])
    assert top_items(scores, candidate, 3).tolist() == [1, 3, 2]
    assert top_items(scores, candidate, 5).tolist() == [1, 3, 2, 0]
    assert top_items(np.zeros(4), np.ones(4, bool), 2).tolist() == [0, 1]


def test_top_items_agree_with_a_sort():
    random = np.random.default_rng(1)
    for _ in range(50):
        scores = random.integers(6, size=30).astype(np.float64)
        candidate = random.random(30) < 0.7
        allowed = np.flatnonzero(candidate)
        wanted = allowed[np.argsort(-scores[allowed], kind="stable")][:10]
        assert top_items(scores, candidate, 10).tolist() == wanted.tolist()


def test_lists_by_hand():
    """Four items, of which 2 is the most popular and 0 has no positive; stretches of two events."""
    trace = Trace(120, 4, 2)
    trace.learn(np.array([2, 2, 2, 1, 1, 3]))
    observed(trace, 0, [0.9, 0.8, 0.1, 0.2], item=2)
    observed(trace, 1, [0.0, 0.8, 0.1, 0.9], item=1)
    observed(trace, 2, [0.9, 0.8, 0.1, 0.2], item=0)
    model, popular, chosen = (trace.lists[name] for name in CHOOSERS)
    assert trace.known.tolist() == [3, 3, *[0] * 58]
    assert (model.slots[:2].tolist(), chosen.slots[:2].tolist()) == ([4, 2], [2, 1])
    assert model.distinct[:2].tolist() == [3, 2]
    assert model.distinct_so_far[:2].tolist() == [3, 3]
    assert popular.distinct_so_far[:2].tolist() == [2, 2]
    #  places: item 2 first, 1 a third down, 3 two thirds, 0 last; a tenth of three items is the first one
    assert popular.popular[:, :2].tolist() == [[2, 1], [2, 1]]
    assert model.popular[:, :2].tolist() == [[0, 0], [0, 0]]
    assert chosen.popular[:, :2].tolist() == [[1, 0], [1, 0]]
    assert model.places[:2] == pytest.approx([1 + 1 / 3 + 2 / 3 + 1 / 3, 1 + 1 / 3])
    assert chosen.places[:2] == pytest.approx([1 / 3, 1])


def test_the_top_tenth_of_ten_items_is_one():
    trace = Trace(2, 10, 1)
    trace.learn(np.array([0, 0, *range(10)]))
    for event, item in enumerate([0, 1]):
        observed(trace, event, [0.0] * 10, item=item)
    assert trace.lists["chosen"].popular.tolist() == [[1, 0], [1, 0]]


def test_what_is_no_candidate_is_in_no_list():
    trace = Trace(1, 3, 2)
    trace.learn(np.array([0, 0, 1, 2]))
    observed(trace, 0, [5.0, 1.0, 2.0], item=1, candidate=[False, True, True])
    assert trace.lists["model"].distinct.tolist() == trace.lists["popularity"].distinct.tolist() == [2]
    assert trace.lists["popularity"].popular.tolist() == [[0], [0]]


def test_the_probability_of_a_list_is_the_softmax_of_its_items():
    calibration, everything = Calibration(), np.ones(3, bool)
    scores = np.log([0.5, 0.3, 0.2])
    calibration.learnt[LOG_SCALE] = 0.0
    answer = Answer(scores, are_counts=False)
    assert calibration.probability(answer, np.array([0, 2]), everything) == pytest.approx(0.7)
    assert calibration.probability(answer, np.array([0]), np.array([True, False, True])) == pytest.approx(
        5 / 7
    )
    calibration.learnt[SHARE] = 0.1
    counts = Answer(np.array([6.0, 2.0, 0.0, 2.0]), are_counts=True)
    assert calibration.probability(counts, np.array([0, 2]), np.ones(4, bool)) == pytest.approx(
        0.9 * 0.6 + 0.05
    )
    none = Answer(np.zeros(4), are_counts=True)
    assert calibration.probability(none, np.array([0]), np.ones(4, bool)) == pytest.approx(0.25)


def test_the_probability_of_one_item_is_what_its_log_loss_says():
    random, everything = np.random.default_rng(2), np.ones(8, bool)
    for are_counts in (False, True):
        calibration = Calibration()
        for item in random.integers(8, size=20).tolist():
            answer = Answer(random.random(8), are_counts)
            probability = calibration.probability(answer, np.array([item]), everything)
            started = are_counts or not np.isnan(calibration.learnt[LOG_SCALE])
            loss = calibration.loss(answer, item, everything)
            assert not started or math.exp(-loss) == pytest.approx(probability)


def test_certainty_by_hand():
    """Before the calibration has learnt anything all candidates are alike: two of four, then one hit."""
    trace = Trace(2, 4, 2)
    observed(trace, 0, [4.0, 3.0, 2.0, 1.0], item=1)
    observed(trace, 1, [4.0, 3.0, 2.0, 1.0], item=3)
    (filled,) = np.flatnonzero(trace.certainty.lists)
    assert filled == 100
    assert trace.certainty.lists[filled] == 2
    assert trace.certainty.hits[filled] == 1
    assert trace.certainty.probability[filled] == pytest.approx(1.0)


def test_a_mark_is_due_once_a_stretch():
    trace = Trace(600, 1, 1)
    due = []
    for events in range(601):
        if trace.due(events):
            due.append(events)
            trace.mark(events, events / 10, {}, {})
    assert due == list(range(10, 601, 10)) == trace.stops.tolist()
    trace = Trace(600, 1, 1)
    assert trace.due(25)
    trace.mark(25, 1.0, {}, {"taste": {"the last item": 0.5}})
    assert not trace.due(29)
    assert trace.due(30)


def test_tracing_changes_no_score_and_sees_what_was_asked():
    events = pairs("ax ay bx bz cx az by cz cy dz")
    plain, trace = Replay(events, settings(), Plan()), Trace(10, 3, 2)
    traced = Replay(events, settings(), Plan(), trace)
    for replay in (plain, traced):
        while replay.advance():
            pass
    one, other = plain.result().scores, traced.result().scores
    for name in one.ranks:
        assert one.ranks[name].tobytes() == other.ranks[name].tobytes()
        assert one.losses[name].tobytes() == other.losses[name].tobytes()
    asked = np.isfinite(one.ranks["live"])
    assert trace.lists["chosen"].slots.tolist() == asked.astype(int).tolist()
    assert trace.certainty.lists.sum() == asked.sum()


def test_the_first_model_is_observed():
    """Popularity against itself: the same lists."""
    trace = Trace(10, 3, 1)
    replay = Replay(
        pairs("ax ay bx bz cx az by cz cy dz"), settings(), Plan(models=["popularity", "live"]), trace
    )
    while replay.advance():
        pass
    model, popular = trace.lists["model"], trace.lists["popularity"]
    assert model.slots.sum() > 0
    assert model.places.tolist() == popular.places.tolist()
    assert model.distinct.tolist() == popular.distinct.tolist()
