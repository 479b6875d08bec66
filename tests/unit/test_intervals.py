"""Confidence intervals: they cover what they should, and know that neighbours are alike."""

import numpy as np
import pytest

from livefactor.replay.intervals import interval


def width(values):
    low, high = interval(values)
    return high - low


def test_independent_events_have_the_interval_of_the_textbook():
    values = (np.random.default_rng(1).random(20_000) < 0.2).astype(np.float64)
    assert width(values) == pytest.approx(2 * 1.96 * np.sqrt(0.2 * 0.8 / 20_000), rel=0.15)
    low, high = interval(values)
    assert low < values.mean() < high


def test_events_that_come_in_runs_have_a_wider_one():
    """Runs of 50 equal events are worth one event each."""
    runs = (np.random.default_rng(2).random(400) < 0.2).astype(np.float64)
    assert width(np.repeat(runs, 50)) == pytest.approx(2 * 1.96 * np.sqrt(0.2 * 0.8 / 400), rel=0.2)


def test_the_true_mean_is_covered_about_as_often_as_promised():
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        low, high = interval(random.normal(size=3_000))
        covered += low < 0 < high
    assert 85 <= covered <= 100


def test_values_that_are_not_there_are_left_out():
    values = np.random.default_rng(4).random(5_000)
    values[::3] = np.nan
    low, high = interval(values)
    assert low < np.nanmean(values) < high


@pytest.mark.parametrize("values", [np.zeros(0), np.ones(100), np.full(300, np.nan)])
def test_too_few_events_have_none(values):
    assert interval(values) is None
