"""Whether records begin to be rejected: a producer has changed what it sends."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from protos.events_pb2 import DRIFT_ACTION_WARN, SEVERITY_ERROR
from stream.drift.decision import Verdict
from stream.drift.significance import block_test
from stream.events import Records, Rejected

WINDOW_RECORDS = 300
PART_RECORDS = 50
"""Records whose rejections are counted together, at least."""

WINDOWS_KEPT = 64
"""Windows before the current one that are remembered."""

SHARE_MIN = 0.1
"""Share of rejected records from which on more than before is an alarm."""

SHARE_MAX = 0.5
"""Share that is an alarm whatever was before."""

CLEARED_BELOW = 0.05
"""Share below which an alarm ends."""

EXAMPLE_MAX = 300
"""Characters of a reason that are repeated."""

P_VALUE_MAX = 1e-6
"""p-value above which it is no jump: records are many, so this must be seldom."""

REASON = "records_rejected"


class Rejects:
    """The share of records that are rejected, in windows of the latest `WINDOW_RECORDS` and before.

    `standing`: it is an alarm. `first`: offset of the first that was rejected, by partition, since there were
    next to none.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[int, int]] = []
        self._windows: list[float] = []
        self._since_window = 0
        self._codes: Counter[str] = Counter()
        self._example = ""
        self.first: dict[int, int] = {}
        self.standing = False

    def add(self, records: Records, rejected: Sequence[Rejected]) -> Verdict | None:
        """Take a micro-batch into account; a verdict when that raises an alarm."""
        self._extend(len(records), len(rejected))
        share = self.share
        if rejected:
            self._remember(records, rejected)
        elif share < CLEARED_BELOW:
            self._codes.clear()
            self.first.clear()
        if self.standing:
            self.standing = share >= CLEARED_BELOW
            return None
        p_value = block_test(np.array(self._windows), share, 1)
        jumped = share >= SHARE_MIN and p_value < P_VALUE_MAX
        if jumped:
            self.standing = True
            return Verdict(REASON, DRIFT_ACTION_WARN, SEVERITY_ERROR, "block_test", p_value)
        if share >= SHARE_MAX and self._records >= WINDOW_RECORDS:
            self.standing = True
            return Verdict(REASON, DRIFT_ACTION_WARN, SEVERITY_ERROR, "limit", 0.0)
        self._since_window += len(records)
        if self._since_window >= WINDOW_RECORDS:
            self._windows, self._since_window = [*self._windows, share][-WINDOWS_KEPT:], 0
        return None

    @property
    def share(self) -> float:
        """Of the latest records."""
        return sum(rejected for _, rejected in self._parts) / max(self._records, 1)

    def sentence(self) -> str:
        """What is wrong, and with which records."""
        codes = ", ".join(f"{code} ({count:,})" for code, count in self._codes.most_common(3))
        return (
            f"{self.share:.0%} of the latest records cannot be used and went to the dead letters: {codes}; "
            f"for example: {self._example}; correct the producer, then `livefactor dlq resend`"
        )

    def pack(self) -> dict[str, Any]:
        """What is remembered."""
        return {
            "parts": self._parts,
            "windows": self._windows,
            "since_window": self._since_window,
            "codes": dict(self._codes),
            "example": self._example,
            "first": list(self.first.items()),
            "standing": self.standing,
        }

    def restore(self, packed: dict[str, Any]) -> None:
        """Inverse of `pack`."""
        self._parts = [(records, rejected) for records, rejected in packed["parts"]]
        self._windows, self._since_window = packed["windows"], packed["since_window"]
        self._codes, self._example = Counter(packed["codes"]), packed["example"]
        self.first, self.standing = dict(packed["first"]), packed["standing"]

    @property
    def _records(self) -> int:
        return sum(records for records, _ in self._parts)

    def _remember(self, records: Records, rejected: Sequence[Rejected]) -> None:
        self._codes.update(each.code for each in rejected)
        self._example = rejected[-1].reason[:EXAMPLE_MAX]
        for each in rejected:
            self.first.setdefault(int(records.partitions[each.record]), int(records.offsets[each.record]))

    def _extend(self, records: int, rejected: int) -> None:
        """Add records to the latest part or to one of their own; drop parts that the window does not need."""
        if self._parts and self._parts[-1][0] < PART_RECORDS:
            records_before, rejected_before = self._parts.pop()
            records, rejected = records + records_before, rejected + rejected_before
        self._parts.append((records, rejected))
        while self._records - self._parts[0][0] >= WINDOW_RECORDS:
            del self._parts[0]
