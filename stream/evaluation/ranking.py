"""Where the item of an event stood in a model's ranking, and how probable the model thought it.

Scores become probabilities in one of two ways, each with one number learnt online:

    log-odds    p_i = softmax(scale s)_i              the scale by Newton's method on its logarithm
    counts      p_i = (1 - share) c_i / C + share / n  the share of the uniform distribution by online EM

over the n candidates. An event is scored first and teaches its number afterwards.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MEMORY = 0.999
"""Weight of an event's curvature relative to the next one's: the scale follows a model that changes."""

CURVATURE_FIRST, CURVATURE_LEAST = 30.0, 1.0
"""Curvature that the scale starts with, and what is always added: they bound the first steps."""

LOG_SCALE_STEP_MAX = 0.5
SHARE_FIRST, SHARE_LEAST, SHARE_RATE = 0.1, 1e-3, 0.01


@numba.njit(cache=True)
def middle_rank(scores: F64, target: int, candidate: Mask) -> float:
    """Rank of `target` among the candidates (float64, bool [items]), best = 1; ties count one half each."""
    wanted = scores[target]
    above = 0
    equal = 0
    for item in range(len(scores)):
        if candidate[item]:
            above += scores[item] > wanted
            equal += scores[item] == wanted
    return 1.0 + above + 0.5 * (equal - 1)


@numba.njit(cache=True)
def softmax_moments(scores: F64, candidate: Mask, scale: float) -> tuple[float, float, float]:
    """Of softmax(scale scores) over the candidates: log of the normaliser, mean and variance of scores."""
    top = -np.inf
    for item in range(len(scores)):
        if candidate[item] and scores[item] > top:
            top = scores[item]
    total = first = second = 0.0
    for item in range(len(scores)):
        if candidate[item]:
            below = scores[item] - top
            weight = math.exp(scale * below)
            total += weight
            first += weight * below
            second += weight * below * below
    mean = first / total
    return math.log(total) + scale * top, top + mean, max(second / total - mean * mean, 0.0)


@numba.njit(cache=True)
def mass(counts: F64, candidate: Mask) -> tuple[float, int]:
    """Sum of the candidates' counts, and how many candidates there are."""
    total = 0.0
    number = 0
    for item in range(len(counts)):
        if candidate[item]:
            total += counts[item]
            number += 1
    return total, number


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model says of all items: float64 [items], log-odds or counts."""

    scores: F64
    are_counts: bool


class Calibration:
    """The two numbers of one model, as learnt so far."""

    def __init__(self) -> None:
        self.log_scale: float | None = None
        self.share = SHARE_FIRST
        self._curvature = CURVATURE_FIRST

    def loss(self, answer: Answer, target: int, candidate: Mask) -> float:
        """-log of the probability of `target`, a candidate; learns from it afterwards."""
        if answer.are_counts:
            return self._count_loss(answer.scores, target, candidate)
        return self._softmax_loss(answer.scores, target, candidate)

    def probability(self, answer: Answer, items: I64, candidate: Mask) -> float:
        """That the wanted item is one of `items` int64 [n], candidates; learns nothing."""
        if answer.are_counts:
            total, number = mass(answer.scores, candidate)
            uniform = len(items) / number
            counted = float(answer.scores[items].sum()) / total if total > 0.0 else uniform
            return (1.0 - self.share) * counted + self.share * uniform
        scale = 0.0 if self.log_scale is None else math.exp(self.log_scale)
        log_total, _, _ = softmax_moments(answer.scores, candidate, scale)
        return float(np.exp(scale * answer.scores[items] - log_total).sum())

    def _softmax_loss(self, scores: F64, target: int, candidate: Mask) -> float:
        if self.log_scale is None:
            log_count, _, variance = softmax_moments(scores, candidate, 0.0)
            if variance <= 0.0:
                return float(log_count)
            self.log_scale = -0.5 * math.log(variance)
        scale = math.exp(self.log_scale)
        log_total, mean, variance = softmax_moments(scores, candidate, scale)
        self._curvature = MEMORY * self._curvature + scale * scale * variance
        step = scale * (mean - scores[target]) / (self._curvature + CURVATURE_LEAST)
        self.log_scale -= min(max(step, -LOG_SCALE_STEP_MAX), LOG_SCALE_STEP_MAX)
        return float(log_total - scale * scores[target])

    def _count_loss(self, counts: F64, target: int, candidate: Mask) -> float:
        total, number = mass(counts, candidate)
        if total <= 0.0:
            return math.log(number)
        uniform = self.share / number
        probability = (1.0 - self.share) * counts[target] / total + uniform
        self.share += SHARE_RATE * (uniform / probability - self.share)
        self.share = max(self.share, SHARE_LEAST)
        return -math.log(probability)


METRICS = ("hr", "ndcg", "mrr", "log_loss")


def event_metrics(ranks: F32, losses: F32, k: int) -> dict[str, F64]:
    """Each metric of each event, float64 [n]: of ranks (infinite: a miss) and log losses (NaN: none)."""
    wide = ranks.astype(np.float64)
    hit = wide <= k
    gains = np.where(hit, 1.0 / np.log2(1.0 + wide), 0.0)
    return dict(
        zip(METRICS, (hit.astype(np.float64), gains, 1.0 / wide, losses.astype(np.float64)), strict=True)
    )


def mean(values: F64) -> float | None:
    """Mean of the values that are not NaN; None if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None
