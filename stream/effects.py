"""What a topic's records do, and what came of events: values on the way to a commit."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from protos.events_pb2 import DriftEvent
from state.errors import RowsExhaustedError
from state.store import OutboxRecord, Rows
from stream.events import Records


@dataclass(frozen=True, slots=True)
class Counts:
    """Events by what became of them; each is `learnt`, `frozen`, `not_learnt`, a duplicate or rejected.

    `refused`: updates of rows that were refused, by reason. `rejected`, `key_mismatches` and `excluded` count
    records.
    `doubtful_types` as in `stream.events.Decoded`.
    """

    events: int = 0
    duplicates: int = 0
    learnt: int = 0
    frozen: int = 0
    not_learnt: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    rejected: int = 0
    key_mismatches: int = 0
    doubtful_types: Mapping[str, int] = field(default_factory=dict)
    excluded: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.events + other.events,
            self.duplicates + other.duplicates,
            self.learnt + other.learnt,
            self.frozen + other.frozen,
            self.not_learnt + other.not_learnt,
            Counter(self.refused) + Counter(other.refused),
            self.rejected + other.rejected,
            self.key_mismatches + other.key_mismatches,
            Counter(self.doubtful_types) + Counter(other.doubtful_types),
            self.excluded + other.excluded,
        )

    def named(self) -> dict[str, int]:
        """For logs and reports, what is seldom only if there was any: `refused_norm` and the like."""
        seldom = {
            "frozen": self.frozen,
            "excluded": self.excluded,
            "rejected": self.rejected,
            "key_mismatches": self.key_mismatches,
            **{f"refused_{reason}": count for reason, count in self.refused.items()},
        }
        return {
            "events": self.events,
            "duplicates": self.duplicates,
            "learnt": self.learnt,
            "not_learnt": self.not_learnt,
            **{name: count for name, count in seldom.items() if count},
        }


@dataclass(frozen=True, slots=True)
class Effects:
    """What records do to a store: rows of the journal, outgoing records, memos; and what is to be told.

    `drift`: the drift events among the outgoing records. `pause`: why learning is to pause from now on, empty
    where it is to go on, None where that stays as it is. `rewind`: next offsets of interactions, by
    partition, where they are to be read from another place.
    """

    rows: tuple[Rows, ...] = ()
    outbox: tuple[OutboxRecord, ...] = ()
    memo: Mapping[str, bytes] = field(default_factory=dict)
    counts: Counts = Counts()
    drift: tuple[DriftEvent, ...] = ()
    pause: str | None = None
    rewind: Mapping[int, int] = field(default_factory=dict)

    def __add__(self, other: "Effects") -> "Effects":
        return Effects(
            self.rows + other.rows,
            self.outbox + other.outbox,
            {**self.memo, **other.memo},
            self.counts + other.counts,
            self.drift + other.drift,
            self.pause if other.pause is None else other.pause,
            {**self.rewind, **other.rewind},
        )


class Handler(Protocol):
    """What is done with the records of one topic."""

    topic: str

    def prepare(self, records: Records, batch_seq: int) -> Callable[[], Effects]:
        """Do what may fail, and return what then changes the model.

        Raises RowsExhaustedError if the rows that the records need do not fit; then nothing has changed.
        """
        ...

    def reject(self, record: Records, error: RowsExhaustedError) -> Effects:
        """What becomes of one record that needs more rows than fit."""
        ...
