"""The reference and the current window of compared losses, in which each user counts once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from state.arrays import F64, I64
from state.ring import Entries
from stream.walk.values import COMPARED

WINDOW_EVENTS = 300
"""The latest of the events compared are the current window; all others that are kept are the reference."""


@dataclass(frozen=True, slots=True)
class Losses:
    """How a model did: means over users of the mean of each, and the variance of the loss between users.

    None where it judged nothing, and the rank where it ranked nothing.
    """

    loss: float | None
    variance: float | None
    reciprocal_rank: float | None


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of compared events, their times in milliseconds since the epoch."""

    name: str
    first_ms: int
    last_ms: int
    events: int
    users: int
    models: Mapping[str, Losses]


def windows_of(records: Entries) -> tuple[Window, ...]:
    """The windows that hold anything, of records in order: the reference, then the current one."""
    parts = {"reference": records[:-WINDOW_EVENTS], "current": records[-WINDOW_EVENTS:]}
    return tuple(window_of(name, part) for name, part in parts.items() if len(part))


def by_user(users: I64, values: F64) -> tuple[F64, F64]:
    """Mean of the values [n, m] of each user, NaN left out, and of how many: float64 [users, m] each."""
    _, inverse = np.unique(users, return_inverse=True)
    known = ~np.isnan(values)
    sums, counts = np.zeros((2, inverse.max(initial=-1) + 1, values.shape[1]))
    np.add.at(sums, inverse, np.where(known, values, 0.0))
    np.add.at(counts, inverse, known)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), counts


def window_of(name: str, records: Entries) -> Window:
    """The window of these records, at least one."""
    losses, ranks = records["losses"].astype(np.float64), records["reciprocal_ranks"].astype(np.float64)
    users = records["user"].astype(np.int64)
    of_users = [by_user(users, values)[0] for values in (losses, ranks)]
    times = records["time_ms"]
    return Window(
        name,
        int(times.min()),
        int(times.max()),
        len(records),
        len(of_users[0]),
        {
            model: _losses(*(values[~np.isnan(values[:, column]), column] for values in of_users))
            for column, model in enumerate(COMPARED)
        },
    )


def _losses(losses: F64, ranks: F64) -> Losses:
    """Of the users that a model judged."""
    if not len(losses):
        return Losses(None, None, None)
    return Losses(float(losses.mean()), float(losses.var()), float(ranks.mean()) if len(ranks) else None)
