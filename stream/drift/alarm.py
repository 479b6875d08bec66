"""Whether an alarm stands: evidence, tests and decisions over time, with what was seen before in mind."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from state.arrays import F64
from state.ring import KEPT, Entries, Ring
from stream.config import DriftConfig
from stream.drift.decision import Verdict
from stream.drift.series import STEP_EVENTS, Series
from stream.drift.windows import WINDOW_EVENTS

WARM_UP = 1_000
"""A model's first compared events, in which it learns the most, are nobody's reference."""

NEW_NORMAL = 4_096
"""Compared events after which an alarm that still stands is how things are now."""

LIMIT_MAX, LIMIT_MIN = 3e-4, 1e-9
"""Between which the p-value lies that raises an alarm."""

CLEARED = 0.05
"""p-value at which an alarm ends: far above what raises it, so that it does not flicker."""

STRETCHES_KEPT = 20
"""Latest stretches between alarms that are a reference."""

NOTHING = 0, 0
"""Less grave than any alarm."""

MONTH_MS = 30 * 86_400_000


class Raised(NamedTuple):
    """An alarm, raised at the record numbered `end`; what began with the one after `since`.

    `reference`: the records from before.
    """

    verdict: Verdict
    since: int
    end: int
    reference: Entries


class Standing(NamedTuple):
    """An alarm that has not ended."""

    since: int
    gravity: tuple[int, int]


class Last(NamedTuple):
    """The latest alarm: when it was raised, by the time of the events."""

    time_ms: int
    gravity: tuple[int, int]


class Alarm(ABC):
    """At most one alarm at a time. Windows that end at every `STEP_EVENTS` are tested, once each.

    From when it began to its end nothing is part of the reference. It ends when the current window is like
    those of the reference again, or after `NEW_NORMAL` events, which are the reference then. `latest` is the
    p-value of the last window, of what other alarms want to know.
    """

    def __init__(self, ring: Ring, series: Series, config: DriftConfig) -> None:
        self._ring, self._series, self._config = ring, series, config
        self._tested = 0
        self._stable: list[tuple[int, int]] = []
        self._stable_after = WARM_UP
        self._last = Last(0, NOTHING)
        self.standing: Standing | None = None
        self.latest = 1.0

    def advance(self) -> Iterator[Raised]:
        """Test what has been added since; the alarms that it raises."""
        added, first = self._ring.added, self._tested // STEP_EVENTS * STEP_EVENTS + STEP_EVENTS
        self._tested = added
        for end in range(first, added + 1, STEP_EVENTS):
            if end - WINDOW_EVENTS >= max(0, added - KEPT) and (raised := self._test(end)):
                yield raised

    def pack(self) -> dict[str, Any]:
        """What is remembered."""
        return {
            "tested": self._tested,
            "stable": self._stable,
            "stable_after": self._stable_after,
            "last": list(self._last),
            "standing": list(self.standing) if self.standing else None,
            "latest": self.latest,
        }

    def restore(self, packed: dict[str, Any]) -> None:
        """Inverse of `pack`; where nothing is remembered, only what is yet to come is tested."""
        if not packed:
            self._tested = self._ring.added
            return
        self._tested, self._stable_after = packed["tested"], packed["stable_after"]
        self.latest = packed["latest"]
        self._stable = [(after, through) for after, through in packed["stable"]]
        time_ms, gravity = packed["last"]
        self._last = Last(time_ms, tuple(gravity))
        if packed["standing"]:
            since, gravity = packed["standing"]
            self.standing = Standing(since, tuple(gravity))

    @abstractmethod
    def _judge(self, end: int, reference: F64) -> Callable[[float], Verdict | None] | None:
        """What comes of the window that ends there, by the p-value that is the limit: the lower, the less.

        None if nobody can tell. `reference` float64 [windows, columns] are measures of the windows before.
        """

    @abstractmethod
    def _change_point(self, end: int, reference: F64) -> int:
        """Number of the last record before what a verdict is about."""

    def _test(self, end: int) -> Raised | None:
        standing = self.standing
        through = min(end - WINDOW_EVENTS, standing.since if standing else end)
        stable = [*self._stable, (self._stable_after, through)]
        measured = np.concatenate([self._series.within(*stretch) for stretch in stable])
        judge = self._judge(end, measured)
        if judge is None:
            return None
        if standing and judge(CLEARED) is None:
            self._stable = stable[-STRETCHES_KEPT:]
            self._stable_after, self.standing = end, None
            return None
        if standing and end - standing.since >= NEW_NORMAL:
            self._stable, self._stable_after, self.standing = [], standing.since, None
            return None
        if not len(measured) or judge(LIMIT_MAX) is None:
            return None
        reference = np.concatenate([self._ring.between(*stretch) for stretch in stable])
        verdict = judge(limit(reference, self._config.false_alarms_per_month))
        now_ms = int(np.median(self._ring.between(end - WINDOW_EVENTS, end)["time_ms"]))
        if verdict is None or verdict.gravity <= self._already(now_ms):
            return None
        since = standing.since if standing else self._change_point(end, measured)
        self.standing, self._last = Standing(since, verdict.gravity), Last(now_ms, verdict.gravity)
        return Raised(verdict, since, end, reference)

    def _already(self, now_ms: int) -> tuple[int, int]:
        """How grave that is of which nothing more is to be said now."""
        cooling = 0 <= now_ms - self._last.time_ms < self._config.cool_down_ms
        standing = self.standing.gravity if self.standing else NOTHING
        return max(standing, self._last.gravity if cooling else NOTHING)


def limit(reference: Entries, false_alarms_per_month: float) -> float:
    """The p-value that raises an alarm so seldom, at the pace of these records, at least one."""
    begin_ms, end_ms = np.quantile(reference["time_ms"], [0.05, 0.95])
    windows_per_ms = 0.9 * len(reference) / WINDOW_EVENTS / max(end_ms - begin_ms, 1.0)
    seldom = false_alarms_per_month / (windows_per_ms * MONTH_MS)
    return float(min(max(seldom, LIMIT_MIN), LIMIT_MAX))
