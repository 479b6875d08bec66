"""Histograms of events, and how far two of them are apart, against what others compute."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from state.evidence import INPUT
from stream.drift.histograms import (
    LOWEST,
    NEGATIVE,
    NOTHING,
    QUANTITIES,
    ZERO,
    distances,
    shift_of,
    smoothed_shares,
    stability_index,
)
from stream.drift.loss import LOG_LOSS

VALUES = QUANTITIES["values"]


def of_values(values, users=None):
    made = np.zeros(len(values), INPUT)
    made["value"], made["user"] = values, np.arange(len(values)) if users is None else users
    return made


@pytest.mark.parametrize(
    ("value", "at"),
    [(np.nan, NOTHING), (-3.0, NEGATIVE), (-np.inf, NEGATIVE), (0.0, ZERO), (1e-30, ZERO + 1)],
)
def test_what_has_no_logarithm_has_a_bin_of_its_own(value, at):
    assert VALUES.binned(of_values([value])).tolist() == [at]


def test_stars_are_told_apart_and_what_is_huge_is_not_lost():
    stars = VALUES.binned(of_values([1, 2, 3, 4, 5]))
    assert len(set(stars.tolist())) == 5
    assert stars[0] == ZERO + 1 - LOWEST * VALUES.per_octave
    assert VALUES.binned(of_values([3e38, np.inf])).tolist() == [VALUES.bins - 1] * 2


def test_an_octave_has_as_many_bins_as_it_says():
    values = 2.0 ** np.arange(0, 3, 1 / 64)
    bins, counts = np.unique(VALUES.binned(of_values(values)), return_counts=True)
    assert len(bins) == 3 * VALUES.per_octave
    assert counts.sum() == len(values)


def test_a_busy_user_does_not_speak_for_all():
    counts = VALUES.histogram(of_values([1.0] * 90 + [4.0] * 10, [7] * 90 + list(range(100, 110))))
    busy, others = 90 / (90 + LOG_LOSS.shrinkage), 10 / (1 + LOG_LOSS.shrinkage)
    assert counts[counts > 0] == pytest.approx(100 * np.array([busy, others]) / (busy + others))


def test_pace_is_what_lies_between_events_in_whatever_order_they_come():
    made = np.zeros(5, INPUT)
    made["time_ms"] = [0, 1_000, 10, 1_010, 20]
    counts = QUANTITIES["pace"].histogram(made)
    assert counts[counts > 0].tolist() == [3, 1]


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_of_scipy(seed):
    random = np.random.default_rng(seed)
    before, others = random.poisson(2, 30), random.poisson(1, (7, 30))
    expected = [jensenshannon(before, each) for each in others]
    found = distances(before.astype(float), others.astype(float))
    assert found == pytest.approx(expected, abs=1e-9), f"seed {seed}"


def test_the_distance_of_strangers_is_the_largest_and_of_the_same_none():
    before = np.array([4.0, 0, 0, 0])
    others = np.array([[0, 2.0, 5, 0], [9.0, 0, 0, 0]])
    assert distances(before, others) == pytest.approx([np.sqrt(np.log(2)), 0.0])


def test_the_stability_index_is_what_the_formula_says():
    before, now = np.array([60.0, 30, 0, 10]), np.array([30.0, 30, 0, 40])
    [a, b] = (np.array(each) / sum(each) for each in ([60.5, 30.5, 10.5], [30.5, 30.5, 40.5]))
    expected = sum((y - x) * np.log(y / x) for x, y in zip(a, b, strict=True))
    assert stability_index(before, now) == pytest.approx(expected)
    assert stability_index(before, before) == 0.0
    assert smoothed_shares(before, now)[:, 2].tolist() == [0.0, 0.0]


def test_a_shift_has_medians_of_what_there_is():
    before, now = of_values([1.0, 3.0, 5.0, np.nan] * 100), of_values([np.nan, 60.0] * 150)
    shift = shift_of("values", before, now)
    assert (shift.quantity, shift.median_before, shift.median) == ("values", 3.0, 60.0)
    assert shift.stability_index > 1
    assert 0.5 < shift.distance < np.sqrt(np.log(2))
    assert shift_of("values", before, of_values([np.nan] * 2)).median is None
    assert shift_of("values", before, before).distance == pytest.approx(0, abs=1e-6)
