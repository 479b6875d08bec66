"""Which settings a search tries, on how much, and what it ends with."""

import itertools
import math

import pytest

from livefactor.tune.search import RANK, SPACES, Parameter, questions, search, space
from stream.config import LearningConfig

BOWL = (Parameter("a", 0.01, 100), Parameter("b", 0, 1, log=False))
BASE = (("a", 50.0), ("b", 0.1))
STRETCHES = [10, 30, 90]


def bowl(candidate):
    """Least at a = 1, b = 0.7."""
    values = dict(candidate)
    return math.log(values["a"]) ** 2 + 10 * (values["b"] - 0.7) ** 2


class Asked:
    """Answers with a loss, and remembers what it was asked; None after `answers`."""

    def __init__(self, loss=bowl, answers=math.inf):
        self.loss, self.left, self.asked = loss, answers, []

    def __call__(self, candidates, events):
        self.asked.append((list(candidates), events))
        losses = []
        for candidate in candidates:
            losses.append(self.loss(candidate) if self.left > 0 else None)
            self.left -= 1
        return losses


def found(measure, trials=30, seed=1, stretches=STRETCHES):
    return search(BOWL, BASE, stretches, trials, seed, measure)


def test_it_comes_near_the_optimum():
    assert bowl(found(Asked(), trials=60)) < 0.05


def test_the_better_third_goes_on_to_a_longer_stretch():
    measure = Asked()
    found(measure, trials=18)
    (first, base_events), *halving = measure.asked
    assert (first, base_events) == ([BASE], 90)
    counts = [(len(candidates), events) for candidates, events in halving]
    assert counts == [(10, 10), (4, 30), (2, 90), (9, 10), (3, 30), (1, 90)]
    wide, better = halving[0][0], halving[1][0]
    assert wide[0] == BASE
    assert better == sorted(wide, key=bowl)[:4]


def test_as_many_questions_are_foreseen_as_asked():
    measure = Asked()
    found(measure, trials=18)
    assert sum(len(candidates) for candidates, _ in measure.asked) == questions(18, 3)


def test_the_second_half_lies_around_the_best_of_the_first():
    measure = Asked()
    found(measure, trials=18)
    best = min((c for candidates, events in measure.asked[:4] if events == 90 for c in candidates), key=bowl)
    for candidate in measure.asked[4][0]:
        for parameter in BOWL:
            distance = parameter.place(dict(candidate)[parameter.name]) - parameter.place(
                dict(best)[parameter.name]
            )
            assert abs(distance) <= 0.16


def test_a_seed_says_everything():
    one, other, different = Asked(), Asked(), Asked()
    assert found(one, seed=3) == found(other, seed=3)
    found(different, seed=4)
    assert one.asked == other.asked != different.asked


def test_the_settings_as_they_are_win_if_nothing_beats_them():
    assert found(Asked(lambda candidate: 0.0 if candidate == BASE else 1.0)) == BASE


def test_candidates_that_fail_are_passed_over():
    assert dict(found(Asked(lambda c: bowl(c) if dict(c)["a"] > 10 else math.inf)))["a"] > 10


def test_there_is_no_best_if_all_fail():
    assert found(Asked(lambda candidate: math.inf)) is None
    assert found(Asked(answers=0)) is None


def test_when_time_runs_out_the_best_of_the_longest_common_stretch_counts():
    measure = Asked(answers=1 + 16 + 1)  # the base, the first stretch, and one of the second
    best = found(measure, trials=30)
    assert best == min(measure.asked[1][0], key=bowl) != BASE
    assert len(measure.asked) == 3


def test_one_trial_is_enough():
    assert found(Asked(), trials=1) is not None


def test_values_have_three_digits_and_places_lead_back():
    for parameter in itertools.chain(*SPACES.values()):
        for place in (0.0, 0.123456, 0.5, 1.0):
            value = parameter.value(place)
            assert parameter.low <= value <= parameter.high
            assert value == float(f"{value:.3g}")
            assert parameter.value(parameter.place(value)) == value
    assert isinstance(RANK.value(0.3), int)
    assert Parameter("a", 1, 10).place(1000) == 1


def test_every_algorithm_has_a_space_and_held_settings_are_not_in_it():
    choices = (LearningConfig.model_fields[name].annotation.__args__ for name in ("algorithm", "feedback"))
    for algorithm, feedback in itertools.product(*choices):
        assert space(algorithm, feedback, ())
    assert "als.reg" not in {parameter.name for parameter in space("als", "implicit", {"als.reg"})}


@pytest.mark.parametrize("held", [{"learning.rank"}, {"learning.rank", "als.alpha"}])
def test_what_is_left_is_still_searched(held):
    assert len(space("als", "implicit", held)) == 4 - len(held)
