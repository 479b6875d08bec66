"""What a replay looks like on its way, stretch by stretch: what was recommended, how surely, how fast.

The stream is cut into `STRETCHES` of equal length in events. In each the k best items for every observed
event are counted: once as the observed model lists them, once by all-time popularity, and beside both the
item that was then chosen. An item's *place* is the share of all known items that come before it by positives:
0 for the most popular one, 1 for one without any. It is among the *top share* s if its place is below s.

How sure the model was is kept in bins of the probability that it gave to its whole list: in a bin where it
said 0.2, a fifth of the lists should hold the item that was chosen.

Everything is bounded by the number of stretches, bins and items, however long the stream. Nothing here reads
a clock: the seconds are handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np

from state.arrays import F64, I64, Mask
from stream.evaluation.ranking import Answer, Calibration

ErrorSums = tuple[int, float, float]
"""How many ratings were predicted, and the sums of absolute and of squared errors."""

STRETCHES = 60
BINS = 200
SHARES = (0.01, 0.1)
CHOOSERS = ("model", "popularity", "chosen")
"""Whose items are counted: the observed model's list, the most popular items, the items of the events."""

PLACES_GROWTH = 1.01
"""Popular items are ordered anew when there are this many times the positives there were."""


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Items that one chooser listed, by stretch [stretches].

    `slots` places in lists, `popular` [shares, stretches] how many of them items of each top share held,
    `places` the sum of their places, `distinct` different items, `distinct_so_far` those since the start.
    """

    slots: I64
    popular: I64
    places: F64
    distinct: I64
    distinct_so_far: I64


@dataclass(frozen=True, slots=True, eq=False)
class Certainty:
    """Lists by the probability given to them, [bins]: how many, sum of probabilities, how many were hits."""

    lists: I64
    probability: F64
    hits: I64


@dataclass(frozen=True, slots=True)
class Mark:
    """How far it was at one moment.

    `ratings` are the models' errors so far; `weights` those of the ranking score, by group and name, best as
    they weigh on a score: each times the usual spread of its feature.
    """

    events: int
    seconds: float
    ratings: Mapping[str, ErrorSums]
    weights: Mapping[str, Mapping[str, float]]


class Trace:
    """Records one replay of `events` interactions with at most `items_max` items, for lists of `k`.

    `stops` int64 [stretches] are the numbers of events at which the stretches end; `known` int64 [stretches]
    the items with a positive by then (0 for a stretch without observed events).
    """

    def __init__(self, events: int, items_max: int, k: int) -> None:
        count = max(min(STRETCHES, events), 1)
        self.stops = np.arange(1, count + 1) * events // count
        self.known = np.zeros(count, np.int64)
        self.certainty = Certainty(np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS, np.int64))
        self.lists = {chooser: _no_lists(count) for chooser in CHOOSERS}
        self.marks: list[Mark] = []
        self._k = min(k, items_max)
        self._counts = np.zeros(items_max, np.float64)
        self._places = np.full(items_max, items_max, np.int64)
        self._positives = self._positives_ordered = self._ordered = 0
        self._seen_at = {chooser: np.full(items_max, -1, np.int64) for chooser in CHOOSERS}

    def observe(
        self, event: int, answer: Answer, calibration: Calibration, item: int, candidate: Mask
    ) -> None:
        """The model's answer about the `event`-th interaction, before anything learns from it.

        `item` is one of the candidates, bool [items]; `calibration` has not learnt from the event either.
        """
        self._order()
        stretch = self._ended(event)
        listed = top_items(answer.scores, candidate, self._k)
        probability = min(calibration.probability(answer, listed, candidate), 1.0)
        _add(self.certainty, probability, hit=bool((listed == item).any()))
        popular = top_items(self._counts[: len(candidate)], candidate, self._k)
        for chooser, items in zip(CHOOSERS, (listed, popular, np.array([item])), strict=True):
            self._count(chooser, items, stretch)
        self.known[stretch] = self._ordered

    def learn(self, items: I64) -> None:
        """Positives that have just been learnt: ordinals of items."""
        np.add.at(self._counts, items, 1.0)
        self._positives += len(items)

    def due(self, events: int) -> bool:
        """Whether a stretch has ended by `events` interactions without a mark."""
        marked = self.marks[-1].events if self.marks else 0
        return self._ended(events) > self._ended(marked)

    def mark(
        self,
        events: int,
        seconds: float,
        ratings: Mapping[str, ErrorSums],
        weights: Mapping[str, Mapping[str, float]],
    ) -> None:
        """How far it is: interactions replayed, the time they took, and see `Mark`."""
        self.marks.append(Mark(events, seconds, ratings, weights))

    def _ended(self, events: int) -> int:
        """How many stretches have ended by so many interactions."""
        return int(np.searchsorted(self.stops, events, side="right"))

    def _order(self) -> None:
        """Bring the places of items up to date if there are enough new positives."""
        if self._positives < self._positives_ordered * PLACES_GROWTH or not self._positives:
            return
        self._ordered = int(np.count_nonzero(self._counts))
        self._places[np.argsort(-self._counts, kind="stable")] = np.arange(len(self._counts))
        np.minimum(self._places, self._ordered, out=self._places)
        self._positives_ordered = self._positives

    def _count(self, chooser: str, items: I64, stretch: int) -> None:
        """Enter what one chooser listed for one event."""
        lists, seen_at, places = self.lists[chooser], self._seen_at[chooser], self._places[items]
        lists.slots[stretch] += len(items)
        for row, share in enumerate(SHARES):
            lists.popular[row, stretch] += np.count_nonzero(places < share * self._ordered)
        lists.places[stretch] += float(places.sum()) / max(self._ordered, 1)
        lists.distinct_so_far[stretch:] += np.count_nonzero(seen_at[items] < 0)
        lists.distinct[stretch] += np.count_nonzero(seen_at[items] < stretch)
        seen_at[items] = stretch


def _no_lists(stretches: int) -> Lists:
    def nothing() -> I64:
        return np.zeros(stretches, np.int64)

    popular = np.zeros((len(SHARES), stretches), np.int64)
    return Lists(nothing(), popular, np.zeros(stretches), nothing(), nothing())


def _add(certainty: Certainty, probability: float, hit: bool) -> None:
    row = min(int(probability * BINS), BINS - 1)
    certainty.lists[row] += 1
    certainty.probability[row] += probability
    certainty.hits[row] += hit


@numba.njit(cache=True)
def top_items(scores: F64, candidate: Mask, k: int) -> I64:
    """Ordinals int64 [<= k] of the best candidates (float64, bool [items]), best first.

    Of equal ones the older comes first.
    """
    best = np.empty(k, np.int64)
    found = 0
    for item in range(len(scores)):
        if candidate[item] and (found < k or scores[item] > scores[best[k - 1]]):
            place = min(found, k - 1)
            while place > 0 and scores[best[place - 1]] < scores[item]:
                best[place] = best[place - 1]
                place -= 1
            best[place] = item
            found = min(found + 1, k)
    return best[:found]
