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
        if not finite or np.linalg.norm(vector) > rates.norm_max:
            return None
        return Row(np.maximum(vector, 0) if rates.nonneg else vector, bias, accumulator)


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
DECAYS = (0.99, 0.995, 0.999, 0.9999, 1.0)
SMOOTHERS = (0.03, 0.3, 3.0)


class Neighbours:
    """Bounded lists of neighbours, owner -> [[other, forward, backward]], in twentieths."""

    def __init__(self, slots):
        self.slots, self.lists = slots, {}

    def slot(self, owner, other):
        """The counts of `other` in the list of `owner`; a newcomer to a full list takes over the smallest."""
        entries = self.lists.setdefault(owner, [])
        for entry in entries:
            if entry[0] == other:
                return entry
        if len(entries) < self.slots:
            entries.append([other, 0, 0])
            return entries[-1]
        smallest = min(entries, key=lambda entry: entry[1] + entry[2])
        smallest[0] = other
        return smallest

    def learn(self, item, last):
        """`item` came after `last`, newest first."""
        for weight, before in zip(NEIGHBOUR_WEIGHTS, last, strict=False):
            if before != item:
                self.slot(before, item)[1] += round(20 * weight)
                self.slot(item, before)[2] += round(20 * weight)

    def strengths(self, counts, last):
        """candidate -> [a1, a2, a3, a4]."""
        found = {}
        for q, (weight, owner) in enumerate(zip(NEIGHBOUR_WEIGHTS, last, strict=False)):
            for other, forward, backward in self.lists.get(owner, []):
                a = found.setdefault(other, np.zeros(4))
                share = weight / 20 / (counts[owner] + 10)
                a += [
                    share * forward * (q == 0),
                    share * forward,
                    weight / 20 * (forward + backward / 2) / math.sqrt(counts[owner]),
                    share * backward,
                ]
        return found

    def features(self, counts, total, last):
        """candidate -> its eight features."""
        found = {}
        for item, (a1, a2, a3, a4) in self.strengths(counts, last).items():
            share = counts[item] / total
            logs = [math.log1p(a / scale) for a in (a1, a2, a4) for scale in (share * 10, 0.01)]
            cosine = a3 / math.sqrt(counts[item])
            found[item] = [*logs, math.log1p(cosine / 0.01), math.log1p(cosine / 0.1)]
        return found


def decayed_counts(events, item, clock):
    """Counts of `item` at `clock`, for each decay, from all `events`: (number, item), numbered from 1."""
    return [sum(d ** (clock - number) for number, other in events if other == item) for d in DECAYS]


def popularity_features(events, item, clock):
    """Logs of the smoothed decayed counts."""
    counts = decayed_counts(events, item, clock)
    return [math.log(count + smoother) for count in counts for smoother in SMOOTHERS]


def normed(vector):
    """The vector at length one; zero stays zero."""
    length = np.linalg.norm(vector.astype(np.float64))
    return vector / length if length else np.zeros(len(vector))


def newton_step(weights, curvature, candidates, log_expected, forgetting, ridge):
    """(weights, curvature) after one event on `candidates` [n, d], the positive first."""
    logits = candidates @ weights - log_expected
    p = np.exp(logits - logits.max())
    p /= p.sum()
    mean = p @ candidates
    covariance = (candidates.T * p) @ candidates - np.outer(mean, mean)
    curvature = forgetting * curvature + (1 - forgetting) * ridge * np.eye(len(weights)) + covariance
    return weights + np.linalg.solve(curvature, candidates[0] - mean), curvature


def explicit_row(y, biases, others, ratings, mean, penalties):
    """(bias, vector) of a row from its ratings, oldest first, by dense normal equations in float64."""
    if not len(others):
        return 0.0, np.zeros(y.shape[1])
    age = np.arange(len(others))[::-1]
    weights = float(penalties.recency) ** age
    z = np.column_stack((np.ones(len(others)), y[others].astype(np.float64)))
    deviations = np.asarray(ratings, np.float64) - mean - biases[others]
    ridge = penalties.reg + penalties.reg_per_rating * weights.sum()
    matrix = (z.T * weights) @ z + np.diag([penalties.reg_bias, *[ridge] * y.shape[1]])
    solution = np.linalg.solve(matrix, (z.T * weights) @ deviations)
    if math.isinf(penalties.level_reg):
        return solution[0], solution[1:]
    recent = float(penalties.level_recency) ** age
    level = recent @ (deviations - z @ solution) / (penalties.level_reg + recent.sum())
    return solution[0] + level, solution[1:]


class ExplicitAls:
    """The explicit ALS learner on dictionaries of lists."""

    def __init__(self, x, y, history_max, user_penalties, item_penalties):
        self.x, self.y = x.astype(np.float64), y.astype(np.float64)
        self.user_biases, self.item_biases = np.zeros(len(x)), np.zeros(len(y))
        self.of_user, self.of_item = [[] for _ in x], [[] for _ in y]
        self.history_max, self.ratings = history_max, []
        self.user_penalties, self.item_penalties = user_penalties, item_penalties

    @property
    def mean(self):
        """Of all ratings there are."""
        return float(np.mean(self.ratings)) if self.ratings else 0.0

    def learn(self, user, item, rating, remove=False):
        """Predict, remember or forget, solve the user, then the item."""
        prediction = self.mean + self.user_biases[user] + self.item_biases[item] + self.x[user] @ self.y[item]
        for earlier in [known for other, known in self.of_user[user] if other == item and not remove]:
            self.ratings.remove(earlier)
            self.of_user[user].remove((item, earlier))
            if (user, earlier) in self.of_item[item]:
                self.of_item[item].remove((user, earlier))
        for histories, row, other in ((self.of_user, user, item), (self.of_item, item, user)):
            if remove:
                places = [n for n, (known, _) in enumerate(histories[row]) if known == other]
                histories[row] = [pair for n, pair in enumerate(histories[row]) if n not in places[-1:]]
            else:
                histories[row] = [*histories[row], (other, rating)][-self.history_max :]
        if remove:
            self.ratings.remove(rating)
        else:
            self.ratings.append(rating)
        self.user_biases[user], self.x[user] = self._solved(
            self.of_user[user], self.y, self.item_biases, self.user_penalties
        )
        self.item_biases[item], self.y[item] = self._solved(
            self.of_item[item], self.x, self.user_biases, self.item_penalties
        )
        return prediction

    def _solved(self, history, vectors, biases, penalties):
        others = [other for other, _ in history]
        return explicit_row(vectors, biases, others, [r for _, r in history], self.mean, penalties)
