"""Where the item of an event stood in a model's ranking, and how probable the model thought it.

Candidates are the items learnt from before, as a rule without those of the user's history. Scores become
probabilities in one of two ways, each with one number learnt online:

    log-odds    p_i = softmax(scale s)_i              the scale by Newton's method on its logarithm
    counts      p_i = (1 - share) c_i / C + share / n  the share of the uniform distribution by online EM

over the n candidates. An event is scored first and teaches its number afterwards.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np

from state.arrays import F32, F64, I32, I64, U32, Mask

MEMORY = 0.999
"""Weight of an event's curvature relative to the next one's: the scale follows a model that changes."""

CURVATURE_FIRST, CURVATURE_LEAST = 30.0, 1.0
"""Curvature that the scale starts with, and what is always added: they bound the first steps."""

LOG_SCALE_STEP_MAX = 0.5
SHARE_FIRST, SHARE_LEAST, SHARE_RATE = 0.1, 1e-3, 0.01

LOG_SCALE, CURVATURE, SHARE = range(3)
"""Places of a calibration, float64 [3]: what has been learnt of one model's probabilities."""


def first_calibrations(models: int) -> F64:
    """Calibrations of models that nothing has been learnt of, float64 [models, 3]; NaN: no scale yet."""
    return np.tile(np.array([np.nan, CURVATURE_FIRST, SHARE_FIRST]), (models, 1))


@numba.njit(cache=True)
def candidates(interactions: I32, excluded: I64 | U32, candidate: Mask) -> None:
    """Mark in `candidate` bool [n] which of the first n items have been learnt from and are not excluded.

    `interactions` int32 [>= n]; `excluded`: ordinals.
    """
    for item in range(len(candidate)):
        candidate[item] = interactions[item] > 0
    for item in excluded:
        candidate[item] = False


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


@numba.njit(cache=True)
def softmax_loss(scores: F64, target: int, candidate: Mask, calibration: F64) -> float:
    """-log p of the candidate `target` under softmax(scale s); the scale, in float64 [3], learns from it."""
    if np.isnan(calibration[LOG_SCALE]):
        log_count, _, spread = softmax_moments(scores, candidate, 0.0)
        if spread <= 0.0:
            return log_count
        calibration[LOG_SCALE] = -0.5 * math.log(spread)
    scale = math.exp(calibration[LOG_SCALE])
    log_total, mean, variance = softmax_moments(scores, candidate, scale)
    calibration[CURVATURE] = MEMORY * calibration[CURVATURE] + scale * scale * variance
    step = scale * (mean - scores[target]) / (calibration[CURVATURE] + CURVATURE_LEAST)
    calibration[LOG_SCALE] -= min(max(step, -LOG_SCALE_STEP_MAX), LOG_SCALE_STEP_MAX)
    return log_total - scale * float(scores[target])


@numba.njit(cache=True)
def count_loss(counts: F64, target: int, candidate: Mask, calibration: F64) -> float:
    """-log p of the candidate `target` by counts and a share of the uniform, which learns from it."""
    total, number = mass(counts, candidate)
    if total <= 0.0:
        return math.log(number)
    share = calibration[SHARE]
    uniform = share / number
    probability = (1.0 - share) * counts[target] / total + uniform
    calibration[SHARE] = max(share + SHARE_RATE * (uniform / probability - share), SHARE_LEAST)
    return -math.log(probability)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model says of all items: float64 [items], log-odds or counts."""

    scores: F64
    are_counts: bool


class Calibration:
    """What has been learnt of one model's probabilities: `learnt` float64 [3], nothing by default."""

    def __init__(self, learnt: F64 | None = None) -> None:
        self.learnt: F64 = first_calibrations(1)[0] if learnt is None else learnt

    def loss(self, answer: Answer, target: int, candidate: Mask) -> float:
        """-log of the probability of `target`, a candidate; learns from it afterwards."""
        loss = count_loss if answer.are_counts else softmax_loss
        return float(loss(answer.scores, target, candidate, self.learnt))

    def probability(self, answer: Answer, items: I64, candidate: Mask) -> float:
        """That the wanted item is one of `items` int64 [n], candidates; learns nothing."""
        if answer.are_counts:
            total, number = mass(answer.scores, candidate)
            uniform = len(items) / number
            counted = float(answer.scores[items].sum()) / total if total > 0.0 else uniform
            share = float(self.learnt[SHARE])
            return (1.0 - share) * counted + share * uniform
        log_scale = self.learnt[LOG_SCALE]
        scale = 0.0 if np.isnan(log_scale) else math.exp(log_scale)
        log_total, _, _ = softmax_moments(answer.scores, candidate, scale)
        return float(np.exp(scale * answer.scores[items] - log_total).sum())


METRICS = ("hr", "ndcg", "mrr", "log_loss")


def event_metrics(ranks: F32 | F64, losses: F32 | F64, k: int) -> dict[str, F64]:
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
