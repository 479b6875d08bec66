"""Whether a share of what comes in begins to be wrong: a producer has changed what it sends."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from protos.events_pb2 import DRIFT_ACTION_ROLLBACK, DRIFT_ACTION_WARN, SEVERITY_ERROR
from state.arrays import I64
from stream.drift.decision import RECORDS_REJECTED, TYPES_DOUBTFUL, UPDATES_REFUSED, Verdict
from stream.drift.significance import block_test
from stream.effects import Counts
from stream.events import Records, Rejected
from stream.intake.event_types import describe_doubtful
from stream.learning import refusal

WINDOW = 300
PART = 50
"""Records or events that are counted together, at least."""

WINDOWS_KEPT = 64
"""Windows before the current one that are remembered."""

SHARE_MIN = 0.1
"""Share of what is wrong from which on more than before is an alarm."""

SHARE_MAX = 0.5
"""Share that is an alarm whatever was before."""

CLEARED_BELOW = 0.05
"""Share below which an alarm ends."""

EXAMPLE_MAX = 300
"""Characters of an example that are repeated."""

P_VALUE_MAX = 1e-6
"""p-value above which it is no jump: windows are many, so this must be seldom."""


class Wrong(NamedTuple):
    """What of a micro-batch is wrong: so many of those `seen`, `named` by what they are.

    `first`: offset of the first, by partition; `example`: more about one of them.
    """

    seen: int
    named: Mapping[str, int]
    first: Mapping[int, int]
    example: str = ""


class Kind(NamedTuple):
    """What may be wrong: what to do, and a sentence made of the share, of what it is, and of an example."""

    action: int
    told: Callable[[float, Mapping[str, int], str], str]


def _told_of_rejected(share: float, codes: Mapping[str, int], example: str) -> str:
    named = ", ".join(f"{code} ({count:,})" for code, count in Counter(codes).most_common(3))
    return (
        f"{share:.0%} of the latest records cannot be used and went to the dead letters: {named}; "
        f"for example: {example}; correct the producer, then `livefactor dlq resend`"
    )


def _told_of_doubtful(share: float, types: Mapping[str, int], _: str) -> str:
    return f"{share:.0%} of the latest events may mean the opposite: {describe_doubtful(types)}"


def _told_of_refused(share: float, reasons: Mapping[str, int], _: str) -> str:
    return (
        f"{share:.0%} as many updates are refused as events are learnt: "
        f"{'; '.join(refusal.describe(reasons))}; go back to before that"
    )


KINDS: Mapping[str, Kind] = {
    RECORDS_REJECTED: Kind(DRIFT_ACTION_WARN, _told_of_rejected),
    TYPES_DOUBTFUL: Kind(DRIFT_ACTION_WARN, _told_of_doubtful),
    UPDATES_REFUSED: Kind(DRIFT_ACTION_ROLLBACK, _told_of_refused),
}
"""By reason of the verdict."""


def wrong_of(
    records: Records, rejected: Sequence[Rejected], counts: Counts, again: bool
) -> Iterator[tuple[str, Wrong]]:
    """What of a micro-batch is wrong, by reason; updates are counted against the events that were learnt.

    Where some were judged before and are read `again`, only updates are counted.
    """
    if not again:
        yield RECORDS_REJECTED, _wrong_of_rejected(records, rejected)
        yield TYPES_DOUBTFUL, _wrong_of_any(records, counts.events, counts.doubtful_types)
    yield UPDATES_REFUSED, _wrong_of_any(records, counts.learnt, counts.refused)


def _wrong_of_rejected(records: Records, rejected: Sequence[Rejected]) -> Wrong:
    places = np.array([each.record for each in rejected], np.int64)
    codes, example = Counter(each.code for each in rejected), rejected[-1].reason if rejected else ""
    return Wrong(len(records), codes, _first(records, places), example)


def _wrong_of_any(records: Records, seen: int, named: Mapping[str, int]) -> Wrong:
    """What may be about any of the records."""
    return Wrong(seen, named, _first(records, np.arange(len(records))) if named else {})


def _first(records: Records, places: I64) -> dict[int, int]:
    """Offset of the first of the records at these places, by partition."""
    partitions, first = np.unique(records.partitions[places], return_index=True)
    offsets = records.offsets[places[first]]
    return dict(zip(partitions.tolist(), offsets.tolist(), strict=True))


class ShareAlarm:
    """The share of what is wrong, in windows of the latest `WINDOW` and before.

    `standing`: it is an alarm. `first`: offset of the first that was wrong, by partition, since there were
    next to none.
    """

    def __init__(self, reason: str) -> None:
        """`reason` is one of `KINDS`."""
        self._reason, self._kind = reason, KINDS[reason]
        self._parts: list[tuple[int, int]] = []
        self._windows: list[float] = []
        self._since_window = 0
        self._named: Counter[str] = Counter()
        self._example = ""
        self.first: dict[int, int] = {}
        self.standing = False

    def add(self, wrong: Wrong) -> Verdict | None:
        """Take a micro-batch into account; a verdict when that raises an alarm."""
        self._extend(wrong.seen, sum(wrong.named.values()))
        share = self.share
        if wrong.named:
            self._remember(wrong)
        elif share < CLEARED_BELOW:
            self._named.clear()
            self.first.clear()
        if self.standing:
            self.standing = share >= CLEARED_BELOW
            return None
        p_value = block_test(np.array(self._windows), share, 1) if share >= SHARE_MIN else 1.0
        if p_value < P_VALUE_MAX:
            self.standing = True
            return Verdict(self._reason, self._kind.action, SEVERITY_ERROR, "block_test", p_value)
        if share >= SHARE_MAX and self._seen >= WINDOW:
            self.standing = True
            return Verdict(self._reason, self._kind.action, SEVERITY_ERROR, "limit", 0.0)
        self._since_window += wrong.seen
        if self._since_window >= WINDOW:
            self._windows, self._since_window = [*self._windows, share][-WINDOWS_KEPT:], 0
        return None

    @property
    def share(self) -> float:
        """Of the latest."""
        return sum(wrong for _, wrong in self._parts) / max(self._seen, 1)

    def sentence(self) -> str:
        """What is wrong, and with which."""
        return self._kind.told(self.share, self._named, self._example)

    def pack(self) -> dict[str, Any]:
        """What is remembered."""
        return {
            "parts": self._parts,
            "windows": self._windows,
            "since_window": self._since_window,
            "named": dict(self._named),
            "example": self._example,
            "first": list(self.first.items()),
            "standing": self.standing,
        }

    def restore(self, packed: dict[str, Any]) -> None:
        """Inverse of `pack`."""
        self._parts = [(seen, wrong) for seen, wrong in packed["parts"]]
        self._windows, self._since_window = packed["windows"], packed["since_window"]
        self._named, self._example = Counter(packed["named"]), packed["example"]
        self.first, self.standing = dict(packed["first"]), packed["standing"]

    @property
    def _seen(self) -> int:
        return sum(seen for seen, _ in self._parts)

    def _remember(self, wrong: Wrong) -> None:
        self._named.update(wrong.named)
        self._example = wrong.example[:EXAMPLE_MAX]
        for partition, offset in wrong.first.items():
            self.first.setdefault(partition, offset)

    def _extend(self, seen: int, wrong: int) -> None:
        """Add to the latest part or to one of its own; drop parts that the window does not need."""
        if self._parts and self._parts[-1][0] < PART:
            seen_before, wrong_before = self._parts.pop()
            seen, wrong = seen + seen_before, wrong + wrong_before
        self._parts.append((seen, wrong))
        while self._seen - self._parts[0][0] >= WINDOW:
            del self._parts[0]
