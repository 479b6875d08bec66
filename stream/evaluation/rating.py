"""Ratings predicted just before they are learnt, and simple models to compare with.

Every prediction is clipped to the range of the ratings seen before it, which is what anyone would do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numba
import numpy as np

from state.arrays import F32, F64, I64
from state.global_arrays import NO_RATINGS
from stream.evaluation.judged import Judged
from stream.learning.ratings_seen import clip_seen

BASELINE_STEP = 0.025
"""Learning rate of the baseline's biases: that of river's documentation."""


@dataclass
class Errors:
    """Sums of one model's errors."""

    rated: int = 0
    absolute: float = 0.0
    squared: float = 0.0

    def add(self, errors: F64) -> None:
        """Count predictions minus ratings."""
        self.rated += len(errors)
        self.absolute += float(np.abs(errors).sum())
        self.squared += float(np.square(errors).sum())

    @property
    def mae(self) -> float | None:
        """Mean absolute error."""
        return self.absolute / self.rated if self.rated else None

    @property
    def rmse(self) -> float | None:
        """Root of the mean squared error."""
        return math.sqrt(self.squared / self.rated) if self.rated else None


class Predictor(Protocol):
    """A model of ratings that learns as it predicts."""

    def predict(self, users: I64, items: I64, ratings: F32) -> F64:
        """Predictions float64 [n], each made before its rating is learnt."""
        ...


class Ratings:
    """The errors of models that a step has just learnt with, and of simpler ones.

    `latest`: of each model those of the last batch, float64 [n].
    """

    def __init__(self, judged: Mapping[str, Judged], simple: Mapping[str, Predictor]) -> None:
        """By name; two names may share a step."""
        self._judged, self._simple = judged, simple
        self._bounds = np.array(NO_RATINGS)
        self.errors = {name: Errors() for name in (*judged, *simple)}
        self.latest: dict[str, F64] = {}

    def learn(self) -> None:
        """Rate the batch that all steps have just learnt."""
        self.latest = {}
        taken = {judged: judged.take_predicted() for judged in set(self._judged.values())}
        predicted = {name: taken[judged] for name, judged in self._judged.items()}
        events = next((found[1] for found in predicted.values() if found), None)
        if events is None:
            return
        rated = np.flatnonzero(~events.remove)
        users, items, ratings = events.users[rated], events.items[rated], events.strengths[rated]
        for name, found in predicted.items():
            if found:
                self._add(name, found[0][rated], ratings)
        before = self._bounds
        for name, simple in self._simple.items():
            self._bounds = before.copy()
            predictions = simple.predict(users, items, ratings)
            clip_seen(predictions, ratings, self._bounds)
            self._add(name, predictions, ratings)

    def _add(self, name: str, predictions: F64, ratings: F32) -> None:
        self.latest[name] = predictions - ratings
        self.errors[name].add(self.latest[name])


class RunningMean:
    """The mean of all ratings so far."""

    def __init__(self) -> None:
        self._mean = np.zeros(2, np.float64)

    def predict(self, users: I64, items: I64, ratings: F32) -> F64:
        """Predictions float64 [n], each made before its rating is learnt."""
        predictions = np.empty(len(ratings), np.float64)
        running_mean(ratings, self._mean, predictions)
        return predictions


class Baseline:
    """mean + b_u + b_i, learnt by stochastic gradient descent as river's `reco.Baseline`."""

    def __init__(self, users_max: int, items_max: int) -> None:
        self._mean = np.zeros(2, np.float64)
        self._user_biases, self._item_biases = np.zeros(users_max), np.zeros(items_max)

    def predict(self, users: I64, items: I64, ratings: F32) -> F64:
        """Predictions float64 [n], each made before its rating is learnt."""
        predictions = np.empty(len(ratings), np.float64)
        biases = (self._user_biases, self._item_biases)
        baseline(users, items, ratings, self._mean, *biases, BASELINE_STEP, predictions)
        return predictions


@numba.njit(cache=True)
def running_mean(ratings: F32, mean: F64, predictions: F64) -> None:
    """Predict the mean (`mean` float64 [2]: mean, count), then move it, rating by rating."""
    for i in range(len(ratings)):
        predictions[i] = mean[0]
        mean[1] += 1.0
        mean[0] += (ratings[i] - mean[0]) / mean[1]


@numba.njit(cache=True)
def baseline(
    users: I64,
    items: I64,
    ratings: F32,
    mean: F64,
    user_biases: F64,
    item_biases: F64,
    step: float,
    predictions: F64,
) -> None:
    """Predict mean + b_u + b_i; then the mean moves, and both biases descend (prediction - rating)²."""
    for e in range(len(users)):
        u, i, rating = users[e], items[e], np.float64(ratings[e])
        deviation = user_biases[u] + item_biases[i]
        predictions[e] = mean[0] + deviation
        mean[1] += 1.0
        mean[0] += (rating - mean[0]) / mean[1]
        slope = 2.0 * (mean[0] + deviation - rating)
        user_biases[u] -= step * slope
        item_biases[i] -= step * slope
