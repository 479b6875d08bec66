"""Learning the weights of the ranking score: online Newton steps on a sampled softmax.

An event is explained against negatives j drawn from all items, from recent events and from the lists of
neighbours. With f the features of `state.scoring.blend`, E_j the expected number of times that j is drawn
(Bengio and Senecal 2008; the positive needs no correction, being there with certainty),

    p  =  softmax of  w.f_positive,  w.f_j - log E_j
    g  =  f_positive - E_p f         M  :=  gamma M + (1 - gamma) lambda I + Cov_p f         w  :=  w + M⁻¹ g

so that M is the curvature of the log loss over about 1 / (1 - gamma) events and there is no learning rate
(the online Newton step of Hazan, Agarwal and Kale 2007, with forgetting). Everything here is float64, and
what is drawn depends on the event's position, the seed and the model only.
"""

from typing import NamedTuple

import numba
import numpy as np

from state.arrays import F32, F64, I32, I64, U32
from state.inner_product import dot
from state.kernels import GOLDEN, below, fraction, mix
from state.scoring import blend, popularity
from state.scoring.blend import Catalogue, Known, Sparse
from stream.learning.recent import Recent

UNIFORM, RECENT, NEIGHBOURING = 5, 5, 10
"""Negatives drawn from all items, from the latest events, and from the lists of neighbours."""

FORGETTING = 0.9999
"""gamma: the curvature keeps about 10,000 events."""

RIDGE = 1.0
"""lambda."""


class Weights(NamedTuple):
    """What is learnt: `weights` float64 [d] and the lower triangle of the `curvature` M float64 [d, d]."""

    weights: F64
    curvature: F64


class Sample(NamedTuple):
    """Candidates of one softmax, the positive first: `items` int64 [n], `log_expected` float64 [n]."""

    items: I64
    log_expected: F64


@numba.njit(cache=True)
def _weighted(cumulated: F64, share: float) -> int:
    """The first place whose cumulated weight exceeds that share of the whole."""
    wanted = share * cumulated[len(cumulated) - 1]
    low, high = 0, len(cumulated) - 1
    while low < high:
        middle = (low + high) // 2
        if cumulated[middle] > wanted:
            high = middle
        else:
            low = middle + 1
    return low


@numba.njit(cache=True)
def contains(items: U32, item: int) -> bool:
    """Whether `item` is among `items`."""
    found = False
    for other in items:
        found |= other == item
    return found


@numba.njit(cache=True)
def sample(
    position: np.uint64,
    seed: int,
    positive: int,
    excluded: U32,
    item_count: int,
    recent: Recent,
    listed: I64,
    draws: F64,
    place: I32,
) -> Sample:
    """The positive and its negatives, without itself and the `excluded` items (uint32 [h]).

    Draw n of an event stands for mix(mix(position ^ mix(seed + GOLDEN)) + (n + 1) GOLDEN). An item is
    expected UNIFORM / items + RECENT its share of the ring + NEIGHBOURING its share of `draws` float64 [m]
    times, which are of the items `listed` int64 [m]; where nothing can be drawn from these, more are drawn
    from the ring instead. `place` int32 [items] is -1 but for listed items, where it is their index.
    """
    cumulated = np.cumsum(draws)
    drawn = cumulated[len(cumulated) - 1] if len(cumulated) else 0.0
    filled = recent.state[1]
    recents = RECENT if drawn > 0.0 else RECENT + NEIGHBOURING
    items = np.empty(1 + UNIFORM + RECENT + NEIGHBOURING, np.int64)
    log_expected = np.zeros(len(items), np.float64)
    items[0] = positive
    size = 1
    key = mix(np.uint64(position) ^ mix(np.uint64(seed) + GOLDEN))
    for draw in range(UNIFORM + RECENT + NEIGHBOURING):
        hashed = mix(key + np.uint64(draw + 1) * GOLDEN)
        if draw < UNIFORM:
            item = below(hashed, item_count)
        elif draw < UNIFORM + recents:
            if filled == 0:
                continue
            item = recent.items[below(hashed, filled)]
        else:
            item = listed[_weighted(cumulated, fraction(hashed))]
        if item == positive or contains(excluded, item):
            continue
        expected = UNIFORM / item_count
        if filled > 0:
            expected += recents * recent.times[item] / filled
        if drawn > 0.0 and place[item] >= 0:
            expected += NEIGHBOURING * draws[place[item]] / drawn
        items[size] = item
        log_expected[size] = np.log(expected)
        size += 1
    return Sample(items[:size], log_expected[:size])


@numba.njit(cache=True)
def features(
    items: I64, catalogue: Catalogue, user_interests: F32, clock: int, sparse: Sparse, place: I32
) -> F64:
    """Features float64 [n, 37 or 40] of the candidates `items` int64 [n]; `place` as in `sample`."""
    size = blend.SIZE_REPEATS if sparse.repeats else blend.SIZE
    out = np.zeros((len(items), size), np.float64)
    for n in range(len(items)):
        item = items[n]
        for v in range(blend.INTERESTS):
            product = dot(catalogue.vectors, item, user_interests, v)
            out[n, v] = product * catalogue.inverse_norms[item]
        popular = out[n, blend.POPULARITY : blend.NEIGHBOURS]
        popularity.features(catalogue.counts, catalogue.counted_at, item, clock, popular)
        if place[item] >= 0:
            blend.sparse_features(sparse, int(place[item]), out[n, blend.NEIGHBOURS :])
    return out


@numba.njit(cache=True)
def solve(matrix: F64, right: F64) -> F64:
    """The solution of `matrix` x = `right`, by Cholesky; zero unless the matrix is positive definite.

    Of `matrix` float64 [>= d, >= d] the lower triangle of the first d rows is read; `right` float64 [d].
    It is factored as LᵀL from the last row upwards, so that inner loops run along rows, as in `als`.
    """
    size = len(right)
    root = np.empty((size, size), np.float64)
    x = right.copy()
    for i in range(size - 1, -1, -1):
        for b in range(i + 1):
            root[i, b] = matrix[i, b]
        for k in range(i + 1, size):
            scaled = root[k, i]
            for b in range(i + 1):
                root[i, b] -= scaled * root[k, b]
        pivot = root[i, i]
        if not pivot > 0.0:
            return np.zeros(size, np.float64)
        inverse = 1.0 / np.sqrt(pivot)
        solved = x[i] * inverse
        for b in range(i + 1):
            root[i, b] *= inverse
            x[b] -= solved * root[i, b]
        x[i] = solved
    for i in range(size):
        total = x[i]
        for b in range(i):
            total -= root[i, b] * x[b]
        x[i] = total / root[i, i]
    return x


@numba.njit(cache=True)
def newton_step(learnt: Weights, candidates: F64, log_expected: F64) -> None:
    """One step on the `candidates` float64 [n, d], positive first, with `log_expected` float64 [n].

    It is one of the first d weights; nothing happens where a score is not finite.
    """
    weights, curvature = learnt
    n, size = candidates.shape
    p = np.empty(n, np.float64)
    for j in range(n):
        p[j] = -log_expected[j]
        for f in range(size):
            p[j] += weights[f] * candidates[j, f]
    if not np.isfinite(p).all():
        return
    p = np.exp(p - p.max())
    p /= p.sum()
    mean = np.zeros(size, np.float64)
    for j in range(n):
        for f in range(size):
            mean[f] += p[j] * candidates[j, f]
    for a in range(size):
        for b in range(a + 1):
            curvature[a, b] *= FORGETTING
        curvature[a, a] += (1.0 - FORGETTING) * RIDGE
    for j in range(n):
        for f in range(size):
            candidates[j, f] -= mean[f]
        for a in range(size):
            scaled = p[j] * candidates[j, a]
            for b in range(a + 1):
                curvature[a, b] += scaled * candidates[j, b]
    # The positive less the mean is the gradient.
    step = solve(curvature, candidates[0])
    finite = True
    for f in range(size):
        finite = finite and np.isfinite(weights[f] + step[f])
    if finite:
        for f in range(size):
            weights[f] += step[f]


@numba.njit(cache=True)
def learn(
    learnt: Weights,
    catalogue: Catalogue,
    known: Known,
    positive: int,
    excluded: U32,
    clock: int,
    item_count: int,
    recent: Recent,
    position: np.uint64,
    seed: int,
    place: I32,
) -> None:
    """Move the weights by one event, before anything else has learnt from it.

    `known` is the user before the event; `excluded` uint32 [h] is the history where items already seen are no
    candidates, else empty; `place` is scratch as elsewhere.
    """
    sparse = known.sparse
    for at in range(len(sparse.items)):
        place[sparse.items[at]] = at
    chosen = sample(position, seed, positive, excluded, item_count, recent, sparse.items, sparse.draws, place)
    if len(chosen.items) > 1:
        rows = features(chosen.items, catalogue, known.interests, clock, sparse, place)
        newton_step(learnt, rows, chosen.log_expected)
    for item in sparse.items:
        place[item] = -1


@numba.njit(cache=True)
def learn_newcomer(
    learnt: Weights,
    catalogue: Catalogue,
    positive: int,
    clock: int,
    item_count: int,
    recent: Recent,
    position: np.uint64,
    seed: int,
    place: I32,
) -> None:
    """Move the weights of users of whom nothing is known, by the first like of one; see `learn`.

    Their features are those of popularity alone.
    """
    nobody, none, no_draws = np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.float64)
    chosen = sample(position, seed, positive, nobody, item_count, recent, none, no_draws, place)
    if len(chosen.items) > 1:
        rows = np.empty((len(chosen.items), popularity.FEATURES), np.float64)
        for n in range(len(rows)):
            popularity.features(catalogue.counts, catalogue.counted_at, chosen.items[n], clock, rows[n])
        newton_step(learnt, rows, chosen.log_expected)
