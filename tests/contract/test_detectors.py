"""Detectors keep one contract: quiet on what is constant, honest about chance, quick to find a step."""

import numpy as np
import pytest
from scipy import stats

from stream.drift.significance import WINDOWS_MIN, block_test, paired_test, t_tail

STREAMS = 1_000
OVERLAP = 6
"""Windows that hold the same event."""


def windows(values, overlap=OVERLAP):
    """Means of windows of blocks, one block apart."""
    return np.convolve(values, np.full(overlap, 1 / overlap), "valid")


def by_blocks(values, step):
    """The last window of a stream of blocks against all that share no block with it."""
    values = values.copy()
    values[-OVERLAP:] += step
    means = windows(values)
    return block_test(means[:-OVERLAP], float(means[-1]), OVERLAP)


def by_pairs(values, step):
    """Every block is the difference of one user."""
    return paired_test(np.arange(len(values)), values + step)


DETECTORS = {"block_test": by_blocks, "paired_test": by_pairs}


@pytest.fixture(params=sorted(DETECTORS))
def detector(request):
    return DETECTORS[request.param]


def streams(count=STREAMS, blocks=120, spread=1.0):
    random = np.random.default_rng(19)
    return (spread * random.standard_normal(blocks) for _ in range(count))


def test_constants_are_quiet(detector):
    assert detector(np.zeros(120), 0.0) == pytest.approx(0.5)


@pytest.mark.parametrize("rate", [0.05, 0.01])
def test_chance_alarms_no_more_often_than_it_says(detector, rate):
    alarms = sum(detector(values, 0.0) < rate for values in streams())
    assert alarms <= stats.binom.ppf(0.999, STREAMS, 1.3 * rate)
    assert alarms >= stats.binom.ppf(0.001, STREAMS, rate / 3), "it could never alarm"


def test_a_step_is_found_whatever_the_scale(detector):
    for spread in (1e-3, 1.0, 1e3):
        found = [detector(values, 3.0 * spread) for values in streams(100, spread=spread)]
        assert np.mean(np.array(found) < 1e-3) > 0.95


def test_a_step_for_the_better_is_none_of_its_business(detector):
    assert all(detector(values, -3.0) > 0.5 for values in streams(100))


def test_a_larger_step_is_surer(detector):
    values = next(streams(1))
    found = [detector(values, step) for step in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert found == sorted(found, reverse=True)


def test_too_little_to_go_by(detector):
    assert np.isnan(detector(np.zeros(int(WINDOWS_MIN) - 1), 0.0))


def test_users_count_once():
    random = np.random.default_rng(3)
    users, differences = np.arange(40), random.standard_normal(40)
    shouted = np.append(users, np.repeat(7, 500)), np.append(differences, np.repeat(differences[7], 500))
    assert paired_test(*shouted) == pytest.approx(paired_test(users, differences))
    differences[::2] = np.nan
    assert paired_test(users, differences) == pytest.approx(
        stats.ttest_1samp(differences[1::2], 0.0, alternative="greater").pvalue, rel=0.02
    )


@pytest.mark.parametrize("freedom", [7.0, 12.0, 50.0])
def test_the_tail_is_that_of_student(freedom):
    for t in (-4.0, -1.0, 0.0, 0.5, 2.0, 4.0, 6.0):
        assert t_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=0.06)
