"""Streaming ALS: exact solves, by twin and by `implicit`."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import twins
from als_rows import gramian_of, solve_rows, weigh_rows
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from stream.learning import als, gramian, refusal


@dataclass
class Problem:
    """Random targets with random histories, `lengths[t]` interactions each."""

    rank: int
    lengths: list
    seed: int = 0
    alpha: float = 0.1
    reg: float = 0.3
    reg_exponent: float = 1.0
    norm_max: float = 64.0
    x: np.ndarray = field(init=False)

    def __post_init__(self):
        random = np.random.default_rng(self.seed)
        count = len(self.lengths)
        self.x = random.normal(size=(count + 5, self.rank)).astype(np.float32)
        self.y = (random.normal(size=(30, self.rank)) * 0.5).astype(np.float32)
        self.targets = random.permutation(count + 5)[:count].astype(np.int64)
        self.bounds = np.concatenate(([0], np.cumsum(self.lengths))).astype(np.int64)
        self.others = random.integers(0, len(self.y), self.bounds[-1])
        self.strengths = random.normal(0.7, 1.0, self.bounds[-1]).astype(np.float32)
        self.confidences, self.values = weigh_rows(self.bounds, self.strengths, 0.9)
        self.gram_x, self.gram_y = gramian_of(self.x), gramian_of(self.y)
        self.refused = np.full(count, 77, np.uint8)

    def solve(self):
        self.refused = solve_rows(
            self.targets,
            self.bounds,
            self.others,
            self.confidences,
            self.values,
            self.x,
            self.y,
            self.gram_x,
            self.gram_y,
            als.Penalties(self.alpha, self.reg, self.reg_exponent, self.norm_max, False),
        )

    def expected(self, t):
        part = slice(self.bounds[t], self.bounds[t + 1])
        return twins.solve_row(
            self.y,
            self.others[part],
            self.confidences[part].astype(np.float64),
            self.values[part].astype(np.float64),
            self.alpha,
            self.reg,
            self.reg_exponent,
        )

    def shuffled(self):
        """The same problem with its targets in another order."""
        other = Problem(self.rank, self.lengths, self.seed)
        order = np.random.default_rng(1).permutation(len(self.lengths))
        parts = np.concatenate([np.arange(self.bounds[t], self.bounds[t + 1]) for t in order])
        other.targets = self.targets[order]
        other.bounds = np.concatenate(([0], np.cumsum(np.diff(self.bounds)[order]))).astype(np.int64)
        other.others = self.others[parts]
        other.confidences, other.values = self.confidences[parts], self.values[parts]
        return other


def gramians_agree(problem):
    return np.array_equal(problem.gram_x, twins.gramian(problem.x))


@pytest.mark.parametrize("rank", [1, 2, 8, 15, 16, 17, 33])
@pytest.mark.parametrize("reg_exponent", [0.0, 0.5, 1.0])
def test_rows_solve_the_normal_equations_as_the_twin_does(rank, reg_exponent):
    problem = Problem(rank, [3, 0, 1, 8, 9, 20], seed=rank, reg_exponent=reg_exponent)
    untouched = np.setdiff1d(np.arange(len(problem.x)), problem.targets)
    before = problem.x[untouched].copy()
    problem.solve()
    for t, target in enumerate(problem.targets):
        np.testing.assert_allclose(problem.x[target], problem.expected(t), rtol=1e-4, atol=1e-5)
    assert not problem.refused.any()
    assert np.array_equal(problem.x[untouched], before)
    assert gramians_agree(problem)


def test_a_target_without_interactions_becomes_the_zero_vector():
    problem = Problem(5, [0, 2])
    problem.solve()
    assert not problem.x[problem.targets[0]].any()
    assert gramians_agree(problem)


def test_the_same_interaction_twice_counts_twice():
    problem = Problem(4, [6])
    problem.others[:] = 3
    problem.solve()
    np.testing.assert_allclose(problem.x[problem.targets[0]], problem.expected(0), rtol=1e-4, atol=1e-6)


def test_no_target_at_all_changes_nothing():
    problem = Problem(3, [])
    before = problem.x.copy()
    problem.solve()
    assert np.array_equal(problem.x, before)


def test_the_order_of_targets_changes_no_bit():
    problem = Problem(19, [4, 0, 7, 30, 1, 12])
    other = problem.shuffled()
    problem.solve()
    other.solve()
    assert np.array_equal(problem.x, other.x)
    assert np.array_equal(problem.gram_x, other.gram_x)


@pytest.mark.parametrize("rank", [3, 24])
def test_implicit_finds_the_same_users(rank):
    """implicit's confidences c: alpha = 1, no frequency scaling, w = c - 1, v = c."""
    problem = Problem(rank, [5, 0, 9, 12], seed=3, alpha=1.0, reg=0.05, reg_exponent=0.0)
    for t in range(4):
        part = slice(problem.bounds[t], problem.bounds[t + 1])
        problem.others[part] = np.random.default_rng(t).permutation(30)[: problem.lengths[t]]
    problem.values = np.random.default_rng(8).uniform(1, 5, len(problem.others)).astype(np.float32)
    problem.confidences = problem.values - np.float32(1)
    oracle = AlternatingLeastSquares(factors=rank, regularization=0.05, alpha=1.0, num_threads=1)
    oracle.item_factors, oracle.user_factors = problem.y, problem.x.copy()
    matrix = csr_matrix((problem.values, problem.others, problem.bounds), shape=(4, len(problem.y)))
    expected = oracle.recalculate_user(np.arange(4), matrix)
    problem.solve()
    np.testing.assert_allclose(problem.x[problem.targets], expected, rtol=1e-4, atol=1e-4)


def test_a_row_beyond_the_norm_limit_keeps_its_value():
    problem = Problem(6, [5, 5, 0], seed=2)
    before = problem.x.copy()
    norms = [np.linalg.norm(problem.expected(t)) for t in (0, 1)]
    problem.norm_max = float(np.mean(norms))
    problem.solve()
    large = int(np.argmax(norms))
    assert problem.refused[large] == refusal.NORM
    assert problem.refused[1 - large] == refusal.ACCEPTED
    assert np.array_equal(problem.x[problem.targets[large]], before[problem.targets[large]])
    assert gramians_agree(problem)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_would_not_be_finite_keeps_its_value(bad):
    problem = Problem(6, [5, 5])
    before = problem.x[problem.targets[0]].copy()
    problem.values[2] = bad
    problem.solve()
    assert problem.refused.tolist() == [refusal.NOT_FINITE, refusal.ACCEPTED]
    assert np.array_equal(problem.x[problem.targets[0]], before)
    assert gramians_agree(problem)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_refused_row_does_no_harm_to_the_next(bad):
    problem = Problem(6, [9, 3])
    problem.confidences[8] = bad
    problem.solve()
    assert problem.refused.tolist() == [refusal.NOT_FINITE, refusal.ACCEPTED]
    np.testing.assert_allclose(problem.x[problem.targets[1]], problem.expected(1), rtol=1e-4, atol=1e-5)


def test_equations_without_a_solution_are_refused():
    problem = Problem(6, [2], reg=0.0)
    problem.y[:] = 0
    problem.gram_y[:] = 0
    problem.solve()
    assert problem.refused.tolist() == [refusal.NOT_FINITE]


def test_a_row_that_would_exhaust_the_gramian_is_refused():
    problem = Problem(2, [5])
    problem.gram_x[0, 0] = int(gramian.TRACE_MAX * gramian.ONE) - 1
    problem.solve()
    assert problem.refused.tolist() == [refusal.TRACE]


@pytest.mark.parametrize("recency", [1.0, 0.8])
def test_interaction_weights_agree_with_their_twin(recency):
    histories = [[1.0, 2.0, -3.0], [], [0.5], [0.0, -1.0, 4.0, 1.0]]
    strengths = np.array([s for history in histories for s in history], np.float32)
    bounds = np.array([0, 3, 3, 4, 8])
    confidences, values = weigh_rows(bounds, strengths, recency)
    expected = np.array(twins.interaction_weights(histories, recency))
    np.testing.assert_allclose(np.column_stack((confidences, values)), expected, rtol=1e-6)
