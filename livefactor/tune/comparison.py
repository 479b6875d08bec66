"""Two configurations measured on the same events, and whether one is better."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from livefactor.replay.intervals import interval
from livefactor.tune.measuring import HIGHER_IS_BETTER, RATING_METRICS, Figures
from state.arrays import F64
from stream.evaluation.ranking import METRICS, mean


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric before and after, on the same events: means, and the 95 % interval of their difference."""

    default: float | None
    tuned: float | None
    difference: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the events that are reported on: how many, and every metric over them."""

    events: int
    metrics: Mapping[str, Comparison]


def compare(default: Figures, tuned: Figures) -> dict[str, Part]:
    """Every metric on every part of the events that both were measured on."""
    assert np.array_equal(default.events, tuned.events)
    warm = default.warm
    found = {}
    for name, part in {"all": np.ones(len(warm), np.bool_), "warm": warm, "cold": ~warm}.items():
        metrics = {m: _compared(default.ranking[m][part], tuned.ranking[m][part]) for m in METRICS}
        found[name] = Part(int(part.sum()), metrics)
    if len(default.squared):
        metrics = {
            "mae": _compared(default.absolute, tuned.absolute),
            "rmse": _roots(_compared(default.squared, tuned.squared)),
        }
        found["ratings"] = Part(len(default.squared), metrics)
    return found


def _compared(default: F64, tuned: F64) -> Comparison:
    difference = tuned - default
    return Comparison(mean(default), mean(tuned), mean(difference), interval(difference))


def _roots(squares: Comparison) -> Comparison:
    """Of mean squares their roots: √a - √b is (a - b) / (√a + √b), whose divisor hardly varies."""
    if squares.default is None or squares.tuned is None or squares.difference is None:
        return squares
    default, tuned = math.sqrt(squares.default), math.sqrt(squares.tuned)
    divisor = max(default + tuned, 1e-300)
    bounds = squares.interval and (squares.interval[0] / divisor, squares.interval[1] / divisor)
    return Comparison(default, tuned, tuned - default, bounds)


def is_better(default: Figures, tuned: Figures, metric: str) -> bool:
    """Whether the tuned settings are, on warm events or ratings, beyond the interval of the difference."""
    if tuned.failure or default.failure:
        return not tuned.failure
    part = compare(default, tuned)["ratings" if metric in RATING_METRICS else "warm"]
    bounds = part.metrics[metric].interval
    return bounds is not None and (bounds[0] > 0 if metric in HIGHER_IS_BETTER else bounds[1] < 0)
