"""What events are like: histograms of windows of sampled events, and how far two of them are apart."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from state.arrays import F64, I64
from state.ring import Entries
from stream.drift.loss import LOG_LOSS

NOTHING, NEGATIVE, ZERO = range(3)
"""Bins of what has no logarithm; NOTHING is that of NaN."""

LOWEST, HIGHEST = -8, 31
"""Powers of 2 between which positive numbers have bins of their own."""

SMOOTHING = 0.5
"""Added to each count, so that what was never seen is unlikely, not impossible (Jeffreys 1946)."""


class Quantity(NamedTuple):
    """What is looked at: float64 [n] of records [n], in so many bins for each factor of 2."""

    of: Callable[[Entries], F64]
    per_octave: int
    by_user: bool = True

    @property
    def bins(self) -> int:
        """How many there are."""
        return ZERO + 1 + (HIGHEST - LOWEST) * self.per_octave

    def binned(self, records: Entries) -> I64:
        """The bin of each record: int64 [n]."""
        values = self.of(records)
        with np.errstate(divide="ignore", invalid="ignore"):
            octaves = np.nan_to_num(np.log2(values)).clip(LOWEST, HIGHEST)
        steps = ((octaves - LOWEST) * self.per_octave).astype(np.int64)
        bins = np.minimum(ZERO + 1 + steps, self.bins - 1)
        bins[values == 0] = ZERO
        bins[values < 0] = NEGATIVE
        bins[np.isnan(values)] = NOTHING
        return bins

    def histogram(self, records: Entries) -> F64:
        """How many records are in each bin, each user weighed as for the log loss: float64 [bins]."""
        bins = self.binned(records)
        if not self.by_user:
            return np.bincount(bins, minlength=self.bins).astype(np.float64)
        _, inverse, counts = np.unique(records["user"], return_inverse=True, return_counts=True)
        weights = 1.0 / (counts[inverse] + LOG_LOSS.shrinkage)
        weights *= len(bins) / weights.sum()
        return np.bincount(bins, weights, self.bins).astype(np.float64)


def _column(name: str) -> Callable[[Entries], F64]:
    return lambda records: records[name].astype(np.float64)


def _gaps_ms(records: Entries) -> F64:
    """Milliseconds from event to event, by their times: partitions are read in turns."""
    return np.diff(np.sort(records["time_ms"])).astype(np.float64)


POPULARITY = "item popularity"

QUANTITIES: Mapping[str, Quantity] = {
    "values": Quantity(_column("value"), 4),
    "event types": Quantity(_column("weight"), 4),
    POPULARITY: Quantity(_column("popularity"), 1),
    "user history": Quantity(_column("user_events"), 1),
    "pace": Quantity(_gaps_ms, 1, by_user=False),
}
"""By what people call them. Types are told apart by their weights; popularity counts in mean items, history
in events, pace in milliseconds from event to event."""


def smoothed_shares(before: F64, now: F64) -> F64:
    """Shares of two histograms [bins], none of them 0 where either has anything: float64 [2, bins]."""
    counts = np.stack([before, now])
    counts += np.where(counts.any(axis=0), SMOOTHING, 0.0)
    shares: F64 = counts / counts.sum(axis=1, keepdims=True)
    return shares


def stability_index(before: F64, now: F64) -> float:
    """Population stability index of two histograms [bins]: below 0.1 little has changed (Lewis 1994)."""
    shares = smoothed_shares(before, now)
    was, is_now = shares[:, shares[0] > 0]
    return float(((is_now - was) * np.log(is_now / was)).sum())


def distances(before: F64, others: F64) -> F64:
    """Jensen-Shannon distances of histograms [n, bins] from one [bins]: the root of the divergence in nats.

    A metric (Endres and Schindelin 2003), at most the root of log 2.
    """
    seen = before + others.sum(axis=0) > 0
    was, are = (counts[..., seen] / counts.sum(axis=-1, keepdims=True) for counts in (before, others))
    middle = (was + are) / 2
    divergences = (_relative_entropies(was, middle) + _relative_entropies(are, middle)) / 2
    return np.sqrt(np.maximum(divergences, 0.0))


class Shift(NamedTuple):
    """How a quantity of some records differs from that of others: medians, None where nothing has it."""

    quantity: str
    median_before: float | None
    median: float | None
    stability_index: float
    distance: float


def shift_of(name: str, before: Entries, now: Entries) -> Shift:
    """Of one of `QUANTITIES`; two records of each at least."""
    quantity = QUANTITIES[name]
    counts = quantity.histogram(before) * (len(now) / len(before)), quantity.histogram(now)
    return Shift(
        name,
        _median(quantity.of(before)),
        _median(quantity.of(now)),
        stability_index(*counts),
        float(distances(counts[0], counts[1][None])[0]),
    )


def _median(values: F64) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


def _relative_entropies(shares: F64, others: F64) -> F64:
    """In nats, of shares [..., bins] and others, which are 0 only where these are."""
    some = shares > 0
    logs = np.log(np.where(some, shares, 1.0)) - np.log(np.where(some, others, 1.0))
    entropies: F64 = (shares * logs).sum(axis=-1)
    return entropies
