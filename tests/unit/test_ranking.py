"""Ranks, probabilities and metrics: by slow twins and by hand."""

import math

import numpy as np
import pytest

from stream.evaluation.ranking import (
    LOG_SCALE,
    SHARE,
    SHARE_FIRST,
    Answer,
    Calibration,
    event_metrics,
    mass,
    mean,
    middle_rank,
    softmax_moments,
)

ALL = np.ones(3, np.bool_)


def case(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores and which items are candidates; item 0 always is."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=50)
    candidate = random.random(50) < 0.7
    candidate[0] = True
    return np.round(scores) if ties else scores, candidate


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
def test_middle_rank_agrees_with_its_twin(seed, ties):
    """The mean of all ranks that breaking the ties some way could give."""
    scores, candidate = case(seed, ties)
    kept = scores[candidate]
    best, worst = 1 + (kept > scores[0]).sum(), (kept >= scores[0]).sum()
    assert middle_rank(scores, 0, candidate) == (best + worst) / 2


@pytest.mark.parametrize("scale", [0.0, 0.7, 30.0])
def test_softmax_moments_agree_with_their_twin(scale):
    scores, candidate = case(1, False)
    scores[~candidate] = 1e9
    kept = scores[candidate]
    total = np.exp(scale * kept).sum()
    weights = np.exp(scale * kept) / total
    mean = (weights * kept).sum()
    expected = math.log(total), mean, (weights * (kept - mean) ** 2).sum()
    assert softmax_moments(scores, candidate, scale) == pytest.approx(expected, abs=1e-9)


def test_softmax_of_huge_scores_does_not_overflow():
    log_total, mean, variance = softmax_moments(np.array([1e6, 0.0, -1e6]), ALL, 5.0)
    assert (log_total, mean, variance) == (5e6, 1e6, 0.0)


def test_mass_counts_candidates_only():
    assert mass(np.array([1.0, 2.0, 4.0]), np.array([True, False, True])) == (5.0, 2)


def test_equal_scores_are_as_good_as_none():
    calibration = Calibration()
    for scores, are_counts in ((np.full(3, 7.0), False), (np.zeros(3), True)):
        loss = calibration.loss(Answer(scores, are_counts), 1, ALL)
        assert loss == pytest.approx(math.log(3))


def test_counts_are_mixed_with_the_uniform_distribution():
    counts = Answer(np.array([3.0, 1.0, 0.0]), are_counts=True)
    assert Calibration().loss(counts, 2, ALL) == pytest.approx(-math.log(SHARE_FIRST / 3))
    expected = (1 - SHARE_FIRST) * 3 / 4 + SHARE_FIRST / 3
    assert Calibration().loss(counts, 0, ALL) == pytest.approx(-math.log(expected))


def test_a_loss_is_taken_before_its_event_is_learnt_from():
    """Two calibrations with the same past agree on an event's probabilities whatever its item is."""
    scores = Answer(np.array([2.0, 1.0, 0.0]), are_counts=False)
    past = [0, 1, 0, 0, 2]
    probabilities = []
    for target in range(3):
        calibration = Calibration()
        for item in past:
            calibration.loss(scores, item, ALL)
        probabilities.append(math.exp(-calibration.loss(scores, target, ALL)))
    assert sum(probabilities) == pytest.approx(1)


def test_the_scale_of_a_model_is_found():
    random = np.random.default_rng(5)
    calibration = Calibration()
    everything = np.ones(40, np.bool_)
    for _ in range(4_000):
        scores = random.normal(size=40) * 0.02
        odds = np.exp(100.0 * scores)
        item = int(random.choice(40, p=odds / odds.sum()))
        calibration.loss(Answer(scores, are_counts=False), item, everything)
    assert math.exp(calibration.learnt[LOG_SCALE]) == pytest.approx(100, rel=0.15)


def test_the_share_of_the_unexpected_is_found():
    random = np.random.default_rng(6)
    calibration = Calibration()
    counts = Answer(np.array([60.0, 40.0, *np.zeros(38)]), are_counts=True)
    odds = 0.5 * counts.scores / 100 + 0.5 / 40
    for _ in range(4_000):
        calibration.loss(counts, int(random.choice(40, p=odds)), np.ones(40, np.bool_))
    assert calibration.learnt[SHARE] == pytest.approx(0.5, abs=0.1)


def test_metrics_by_hand():
    ranks = np.array([1, 3, 10, 10.5, np.inf], np.float32)
    losses = np.array([1, 2, 3, 4, np.nan], np.float32)
    found = event_metrics(ranks, losses, 10)
    assert found["hr"].tolist() == [1, 1, 1, 0, 0]
    assert found["ndcg"] == pytest.approx([1, 1 / 2, 1 / math.log2(11), 0, 0])
    assert found["mrr"] == pytest.approx([1, 1 / 3, 1 / 10, 1 / 10.5, 0])
    assert mean(found["log_loss"]) == pytest.approx(2.5)


def test_the_mean_of_nothing_is_none():
    assert mean(np.zeros(0)) is None
    assert mean(np.full(2, np.nan)) is None
