"""Small dense equations in float32, against NumPy and SciPy in float64."""

import numpy as np
import pytest
from scipy.optimize import nnls

from stream.learning.normal_equations import equations, solve, solve_nonnegative


class Problem:
    """Equations of some rank whose right-hand side has both signs."""

    def __init__(self, rank, rows, ridge, seed):
        random = np.random.default_rng(seed)
        self.rank, self.rows, self.ridge = rank, rows, np.float32(ridge)
        self.room = equations(rank, rows)
        self.room.z[:], self.room.weights[:] = np.nan, np.nan
        square = random.normal(size=(rank, rank))
        self.room.base[:, :rank] = square @ square.T / rank
        self.room.z[:rows] = 0
        self.room.z[:rows, :rank] = random.normal(size=(rows, rank))
        self.room.weights[:rows] = random.random(rows)
        self.room.x[0, :rank] = random.normal(size=rank)
        self.target = self.room.x[0, :rank].astype(np.float64)

    @property
    def matrix(self):
        z, weights = self.room.z[: self.rows, : self.rank].astype(np.float64), self.room.weights[: self.rows]
        return self.room.base[:, : self.rank] + self.ridge * np.eye(self.rank) + (z.T * weights) @ z

    @property
    def nonnegative_optimum(self):
        """½ xᵀAx - bᵀx = ½ |Rx - R⁻ᵀb|² + constant for A = RᵀR."""
        root = np.linalg.cholesky(self.matrix).T
        return nnls(root, np.linalg.solve(root.T, self.target))[0]

    @property
    def x(self):
        return self.room.x[0, : self.rank]

    def solve(self):
        assert solve(self.room, self.rows, self.ridge)
        return self.x

    def solve_nonnegative(self, start):
        assert solve_nonnegative(self.room, self.rows, self.ridge, start.astype(np.float32))
        return self.x


shapes = pytest.mark.parametrize(
    ("rank", "rows", "ridge"), [(1, 3, 1), (5, 2, 0.3), (16, 40, 1), (33, 20, 0.1)]
)


@shapes
def test_equations_are_solved(rank, rows, ridge):
    problem = Problem(rank, rows, ridge, seed=rank)
    np.testing.assert_allclose(
        problem.solve(), np.linalg.solve(problem.matrix, problem.target), rtol=1e-3, atol=1e-4
    )


@shapes
@pytest.mark.parametrize("seed", range(4))
def test_the_best_solution_without_negative_components_is_found_from_anywhere(rank, rows, ridge, seed):
    start = np.random.default_rng(seed).normal(size=rank)
    expected = Problem(rank, rows, ridge, seed).nonnegative_optimum
    found = Problem(rank, rows, ridge, seed).solve_nonnegative(start)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)
    assert (found >= 0).all()
    if rank > 4:
        assert 0 < (expected == 0).sum() < rank


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_does_not_come_out_as_an_answer(bad):
    """Either there is no solution, or it is not finite, which its caller refuses."""
    problem = Problem(5, 4, 1.0, seed=0)
    problem.x[2] = bad
    assert not np.isfinite(problem.solve_nonnegative(np.zeros(5))).all()
    problem = Problem(5, 4, 1.0, seed=0)
    problem.room.weights[1] = bad
    solved = solve_nonnegative(problem.room, problem.rows, problem.ridge, np.zeros(5, np.float32))
    assert not (solved and np.isfinite(problem.x).all())


def test_equations_without_a_positive_diagonal_have_no_solution():
    problem = Problem(3, 2, 0.0, seed=0)
    problem.room.base[:], problem.room.z[:] = 0, 0
    assert not solve(problem.room, 2, problem.ridge)
    assert not solve_nonnegative(problem.room, 2, problem.ridge, np.zeros(3, np.float32))
