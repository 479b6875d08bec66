"""How far a learner has come, seen from outside: through the store it writes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from state.errors import StoreError
from state.rocksdb.reader import RocksReader
from state.store import PREQUENTIAL_MEMO

OPEN_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """The state at one moment.

    `hit_rates`: for each model the share of the `scored` events whose item was among its best `k`.
    """

    monotonic_s: float
    applied: int
    batch_seq: int
    scored: int
    k: int
    hit_rates: dict[str, float]


class Watch:
    """Follows the store in a directory; keeps following when its learner dies and another comes."""

    def __init__(
        self, directory: Path, topic: str, timeout_s: float, check: Callable[[], None] = lambda: None
    ) -> None:
        """Wait for the store to appear; `check` may raise meanwhile.

        Raises StoreError if it cannot be opened in time: one that is just being created cannot, either.
        """
        self._topic = topic
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                self._reader = RocksReader(directory)
                return
            except StoreError:
                check()
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(OPEN_INTERVAL_S)

    def look(self) -> Seen:
        """Where the learner stands now."""
        self._reader.catch_up()
        head = self._reader.head()
        measured = orjson.loads(
            head.memo.get(PREQUENTIAL_MEMO, b'{"k": 0, "total": {"scored": 0, "ranking": {}}}')
        )
        total = measured["total"]
        return Seen(
            time.monotonic(),
            sum(offset for where, offset in head.offsets.items() if where.topic == self._topic),
            head.batch_seq,
            total["scored"],
            measured["k"],
            {name: sums["hr"] / max(total["scored"], 1) for name, sums in total["ranking"].items()},
        )

    def close(self) -> None:
        """Let go of the store."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
