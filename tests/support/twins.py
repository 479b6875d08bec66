"""Slow, obvious twins of the compiled kernels: NumPy in float64 and Python's own integers."""

import math
from dataclasses import dataclass, field

import numpy as np

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    """SplitMix64's finaliser."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def gramian(vectors):
    """Sum of outer products in units of 2^-32, as Python integers would have it."""
    rank = vectors.shape[1]
    total = [[0] * rank for _ in range(rank)]
    for x in vectors.tolist():
        for a in range(rank):
            for b in range(rank):
                total[a][b] += round(x[a] * x[b] * 2**32)
    return np.array(total, np.int64).reshape(rank, rank)


def interaction_weights(histories, recency):
    """(confidence, target value) of each strength of each history, oldest first."""
    pairs = []
    for history in histories:
        for place, strength in enumerate(history):
            decay = recency ** (len(history) - 1 - place)
            pairs.append((abs(strength) * decay, max(strength, 0) * decay))
    return pairs


def solve_row(y, others, confidences, values, alpha, reg, reg_exponent):
    """The row that minimises the ALS loss against all of `y`, float64."""
    y = y.astype(np.float64)
    ridge = reg * (len(others) + alpha * len(y)) ** reg_exponent
    matrix = alpha * y.T @ y + ridge * np.eye(y.shape[1])
    target = np.zeros(y.shape[1])
    for other, confidence, value in zip(others, confidences, values, strict=True):
        matrix += confidence * np.outer(y[other], y[other])
        target += value * y[other]
    return np.linalg.solve(matrix, target) if len(others) else target


def initial_vector(hash_, rank, seed, std):
    """Uniform numbers of standard deviation `std` from SplitMix64."""
    state = mix(hash_ ^ mix((seed + GOLDEN) & MASK))
    uniform = [(mix((state + (k + 1) * GOLDEN) & MASK) >> 11) / 2**53 for k in range(rank)]
    return [std * math.sqrt(12) * (number - 0.5) for number in uniform]


def draw_negative(position, draw, item_count, recent, recent_share, seed):
    """The negative that a position and a draw stand for; `recent` is what the ring holds."""
    coin = mix((mix(position ^ mix((seed + GOLDEN) & MASK)) + (draw + 1) * GOLDEN) & MASK)
    choice = mix((coin + GOLDEN) & MASK)
    if recent and (coin >> 11) / 2**53 < recent_share:
        return recent[(choice >> 32) * len(recent) >> 32]
    return (choice >> 32) * item_count >> 32


@dataclass
class Row:
    """One user or item of the SGD twin, float64."""

    vector: np.ndarray
    bias: float = 0.0
    accumulator: float = 0.0

    def stepped(self, slope, partner, rates, biased):
        """The row after one step down the gradient, or None where that may not be."""
        gradient = slope * partner + rates.reg * self.vector
        bias_gradient = slope + rates.reg_bias * self.bias if biased else 0.0
        accumulator, shrink = self.accumulator, 1.0
        if rates.adagrad:
            accumulator += (gradient @ gradient + bias_gradient**2) / (len(gradient) + 1)
            shrink = 1 / (math.sqrt(accumulator) + 1e-8)
        vector = self.vector - rates.step * shrink * gradient
        bias = self.bias - rates.step_bias * shrink * bias_gradient
        finite = np.isfinite(vector).all() and np.isfinite([bias, accumulator]).all()
        return Row(vector, bias, accumulator) if finite and np.linalg.norm(vector) <= rates.norm_max else None


@dataclass
class Sgd:
    """Biased and logistic matrix factorisation, one event at a time, on lists of `Row`."""

    users: list
    items: list
    rates: object
    ratings: list = field(default_factory=list)
    recent: list = field(default_factory=list)
    touched: set = field(default_factory=set)

    def descend(self, u, i, slope, user_biased, item_biased):
        """Move both rows or neither; whether they moved."""
        slope = min(max(slope, -self.rates.gradient_max), self.rates.gradient_max)
        user = self.users[u].stepped(slope, self.items[i].vector, self.rates, user_biased)
        item = self.items[i].stepped(slope, self.users[u].vector, self.rates, item_biased)
        if user is None or item is None:
            return False
        self.users[u], self.items[i] = user, item
        return True

    def rate(self, u, i, rating, remove):
        """Learn or unlearn a rating: (prediction before it, whether it was refused)."""
        user, item = self.users[u], self.items[i]
        interaction = user.vector @ item.vector
        prediction = self.mean() + user.bias + item.bias + interaction
        before = list(self.ratings)
        if remove:
            self.ratings.remove(rating)
            slope = 2 * interaction
        else:
            self.ratings.append(rating)
            slope = 2 * (self.mean() + user.bias + item.bias + interaction - rating)
        moved = math.isfinite(rating) and self.descend(u, i, slope, not remove, not remove)
        if not moved:
            self.ratings = before
        return prediction, not moved

    def mean(self):
        """Mean of the ratings learnt and not unlearnt."""
        return math.fsum(self.ratings) / len(self.ratings) if self.ratings else 0.0

    def like(self, u, i, strength, remove, position, item_count, ring_length, sampling):
        """Learn an implicit event; whether any of its steps was refused."""
        if remove or strength <= 0:
            return not self.label(u, i, 0, abs(strength))
        held = [item for _, item in sorted(self.ring(ring_length).items())]
        drawn = [
            draw_negative(position, draw, item_count, held, sampling.recent_share, sampling.seed)
            for draw in range(sampling.negatives)
        ]
        moved = [self.label(u, i, 1, strength)]
        moved += [self.label(u, negative, 0, strength) for negative in drawn if negative != i]
        self.recent.append(i)
        return not all(moved)

    def ring(self, length):
        """Place -> item of a ring that all recent positives went through."""
        return {place % length: item for place, item in enumerate(self.recent)} if length else {}

    def label(self, u, i, label, weight):
        """One step of logistic regression; whether it was made."""
        score = self.users[u].vector @ self.items[i].vector + self.items[i].bias
        slope = weight * (1 / (1 + math.exp(-score)) - label)
        moved = self.descend(u, i, slope, False, True)
        if moved:
            self.touched.add(i)
        return moved


NEIGHBOUR_WEIGHTS = (1.0, 0.6, 0.4, 0.25, 0.15)


class Neighbours:
    """Bounded lists of neighbours, owner -> [[other, forward, backward]], float32: ties are ties in both."""

    def __init__(self, slots):
        self.slots, self.lists = slots, {}

    def slot(self, owner, other):
        """The counts of `other` in the list of `owner`; a newcomer to a full list takes over the smallest."""
        entries = self.lists.setdefault(owner, [])
        for entry in entries:
            if entry[0] == other:
                return entry
        if len(entries) < self.slots:
            entries.append([other, np.float32(0), np.float32(0)])
            return entries[-1]
        smallest = min(entries, key=lambda entry: entry[1] + entry[2])
        smallest[0] = other
        return smallest

    def learn(self, item, last):
        """`item` came after `last`, newest first."""
        for weight, before in zip(NEIGHBOUR_WEIGHTS, last, strict=False):
            if before != item:
                self.slot(before, item)[1] += np.float32(weight)
                self.slot(item, before)[2] += np.float32(weight)
