"""Among which events a loss rose: a fault that is about a part of them is told with that part."""

from collections.abc import Iterator, Mapping

import numpy as np

from state.arrays import F64, I64, Mask
from state.ring import Entries
from stream.walk.values import BASELINE, FROZEN, LIVE

NEW_USER = 5
"""Events that a user has had, below which they are new."""

EVENTS_MIN = 30
"""Events of a part in the current window, and before, from which something can be said of it."""

SHARE_MIN = 0.9
"""Share of what a loss rose by that must be of a part."""

SHARE_MAX = 0.5
"""Share of all events above which a part is no part."""

MEASURES: Mapping[str, tuple[int, int | None]] = {
    "updates_do_harm": (LIVE, FROZEN),
    "everything_collapsed": (LIVE, BASELINE),
    "taste_lost": (LIVE, BASELINE),
    "harder_to_predict": (LIVE, None),
}
"""Whose loss rose beside whose, by reason of a verdict."""


def segment_of(reason: str, before: Entries, current: Entries) -> str:
    """The part of the events in which a loss rose and others did not, in words; empty where there is none.

    `before` and `current` are records `state.evidence.INPUT` [m] and [n] that were compared. The part is the
    smallest of those in which most of the rise is; a rise that comes of more events of a hard part is none.
    """
    measured = _measured(reason, before), _measured(reason, current)
    sizes, rises = {}, {}
    for name, (was, now) in _parts(before, current):
        if min(was.sum(), now.sum()) >= EVENTS_MIN:
            sizes[name] = int(now.sum())
            rises[name] = float((measured[1][now] - measured[0][was].mean()).sum())
    total = float((measured[1] - measured[0].mean()).sum()) if len(before) else 0.0
    found = [
        name
        for name, size in sizes.items()
        if size <= SHARE_MAX * len(current) and rises[name] >= SHARE_MIN * total > 0
    ]
    return min(found, key=lambda name: sizes[name], default="")


def compared(inputs: Entries, events: Entries) -> Entries:
    """Those of the records `INPUT` that are about the same events as records `RECORD`."""
    found: Entries = inputs[np.isin(_places(inputs), _places(events))]
    return found


def _places(records: Entries) -> I64:
    """One number for each place in the log."""
    places: I64 = records["partition"].astype(np.int64) << 44 | records["offset"]
    return places


def _measured(reason: str, records: Entries) -> F64:
    """Float64 [n]; 0 where the other model has not judged."""
    of, beside = MEASURES[reason]
    losses = records["losses"].astype(np.float64)
    found: F64 = losses[:, of] if beside is None else losses[:, of] - losses[:, beside]
    return np.nan_to_num(found)


def _parts(before: Entries, current: Entries) -> Iterator[tuple[str, tuple[Mask, Mask]]]:
    """Parts of the events, each as a mask of both."""
    both = before, current
    new = [records["user_events"] < NEW_USER for records in both]
    yield f"users with fewer than {NEW_USER} events", (new[0], new[1])
    yield f"users with {NEW_USER} events and more", (~new[0], ~new[1])
    rare = [records["popularity"] < 1.0 for records in both]
    yield "items less popular than the mean", (rare[0], rare[1])
    yield "items more popular than the mean", (~rare[0], ~rare[1])
    for weight in np.unique(current["weight"]).tolist():
        yield f"event types of weight {weight:g}", (before["weight"] == weight, current["weight"] == weight)
