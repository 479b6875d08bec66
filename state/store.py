"""The seam between the model and its disk: values that cross it, and the two contracts.

The store knows no learner. It keeps *rows* (opaque bytes under a kind and a
permanent ordinal), an index from ids to ordinals, offsets, a schedule, memos
and an outbox, and moves from one micro-batch to the next in one atomic step.

`state.rocksdb.writer` and `state.rocksdb.reader` keep them in RocksDB, `state.memory` in
dictionaries; `tests/contract/` holds both to the same behaviour.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from state.arrays import I64, U8
from state.errors import StoreError

ID_BYTES_MAX = 256
"""Longest id of a user or an item: the same in the log, in files of events and in requests."""

PREQUENTIAL_MEMO, CONTROL_MEMO, FINGERPRINT_MEMO = "prequential", "control", "fingerprint"
"""Names of memos: what was measured, what commands have set, and what the last run was made with."""

DRIFT_MEMO = "drift"
"""Name of the memo with what is known of drift beside the rows of `state.evidence`."""

DRIFT_EVENTS_MEMO = "drift_events"
"""Name of the memo with the latest drift events: a `DriftEvents`."""

ROLLBACK_MEMO = "rollback"
"""Name of the memo with the `Command` of a rollback that is to be carried out; empty if none is."""

LOG_MEMO = "log"
"""Name of the memo that says which log offsets are of: a `stream.source.LogIdentity`."""

SCORING_MEMO = "scoring"
"""Name of the memo that says how rows become scores: a `state.scoring.spec.ScoringSpec`."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class VersionId(NamedTuple):
    """Which kept state: through which micro-batch, of which generation. Written g1.500."""

    generation: int
    batch_seq: int

    def __str__(self) -> str:
        return f"g{self.generation}.{self.batch_seq}"

    @classmethod
    def parse(cls, text: str) -> "VersionId":
        """Inverse of `str`."""
        generation, _, batch_seq = text.removeprefix("g").partition(".")
        return cls(int(generation), int(batch_seq))


@dataclass(frozen=True, slots=True)
class Version:
    """A state that is kept: why, when, what its run was made with, and the next offset of each partition.

    `parent` is the version that it descends from. `settings` are those that decide what is learnt; `metrics`
    is what was measured in its last window.
    """

    id: VersionId
    parent: VersionId
    reason: str
    created_ms: int
    fingerprint: str | None
    positions: Mapping[TopicPartition, int]
    settings: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, object] = field(default_factory=dict)

    @property
    def imported(self) -> bool:
        """Whether it comes from elsewhere, and is of no history of this store."""
        return self.id.generation == 0


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Packed rows of one kind, ascending by ordinal.

    `ordinals` int64 [n]; `bounds` int64 [n + 1]; row i is `data[bounds[i]:bounds[i + 1]]`, uint8.
    """

    kind: int
    ordinals: I64
    bounds: I64
    data: U8

    def __len__(self) -> int:
        return len(self.ordinals)

    def row(self, i: int) -> bytes:
        """Bytes of row `i`."""
        return self.data[self.bounds[i] : self.bounds[i + 1]].tobytes()


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """A record for Kafka that must not be lost: it stays until a broker acknowledged it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        """Bytes that count against `state.outbox_bytes_max`."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.topic) + len(self.key or b"") + len(self.value or b"") + headers


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """Absolute values of every row that one micro-batch changed; applying it twice is harmless."""

    batch_seq: int
    rows: tuple[Rows, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything one micro-batch changes, written whole or not at all."""

    batch_seq: int
    rows: tuple[Rows, ...] = ()
    offsets: Mapping[TopicPartition, int] = field(default_factory=dict)
    schedule: Mapping[str, object] = field(default_factory=dict)
    memo: Mapping[str, bytes] = field(default_factory=dict)
    outbox: tuple[OutboxRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """Where the store stands.

    `version` is the newest kept state that this one descends from, micro-batch 0 if there is none.
    `applied_through_ms` says for each partition up to which wall-clock time everything
    published has been applied; it is written by heartbeats too and is outside the digest.
    """

    generation: int
    batch_seq: int
    flushed_through: int
    version: VersionId
    offsets: Mapping[TopicPartition, int]
    memo: Mapping[str, bytes]
    applied_through_ms: Mapping[TopicPartition, int]


def successor(predecessor: Head, version: VersionId, memo: Mapping[str, bytes]) -> Head:
    """The head of the generation after `predecessor`: see `Writer.begin_generation`."""
    return replace(
        predecessor,
        generation=predecessor.generation + 1,
        flushed_through=predecessor.batch_seq,
        version=version,
        memo=memo,
    )


def require_flushed(head: Head, place: object) -> None:
    """Raises StoreError if rows are in the journal only."""
    if head.flushed_through != head.batch_seq:
        raise StoreError(
            f"{place}: a generation cannot begin with rows that are not flushed (through micro-batch "
            f"{head.flushed_through} of {head.batch_seq}): flush them first"
        )


class Flush(Protocol):
    """Dirty rows on their way to the row family, a slice at a time so that learning goes on between."""

    def advance(self, rows_max: int) -> bool:
        """Write up to `rows_max` rows more; True when the flush is complete and durable."""
        ...


class Keeping(Protocol):
    """A version on its way, so that learning goes on between."""

    def advance(self, *, wait: bool = False) -> bool:
        """Go on as far as it goes without waiting, or with it to the end; True when the version is kept.

        The head descends from it then. Raises StoreError if it cannot be kept; nothing is left of it.
        """
        ...


class Reader(Protocol):
    """A consistent view of a store, moved forward by `catch_up` only."""

    def identity(self) -> Mapping[str, Any]:
        """What the store was created for: model, rank and the like; empty in one that is being created."""
        ...

    def catch_up(self) -> None:
        """See what has been committed since; the view does not change at any other time."""
        ...

    def head(self) -> Head:
        """Offsets, sequence numbers and memos of the view."""
        ...

    def journal(self, after: int) -> Iterator[JournalEntry]:
        """Entries with `batch_seq > after`, ascending, without a gap as far as they go."""
        ...

    def lookup(self, kind: int, ids: Sequence[bytes]) -> I64:
        """Ordinals of ids in the row family, -1 where absent there; journal entries are not consulted."""
        ...

    def load(self, kind: int, ordinals: Sequence[int] | I64) -> Rows:
        """Rows of the row family, ascending; ordinals absent there are left out."""
        ...

    def scan(self, kind: int) -> Iterator[Rows]:
        """Every row of a kind in the row family, ascending by ordinal, in chunks."""
        ...

    def schedule(self, after: int = 0) -> Iterator[tuple[int, Mapping[str, object]]]:
        """Schedule entries as (batch_seq, entry) with `batch_seq > after`, ascending."""
        ...

    def outbox(self, after: int = 0) -> Iterator[tuple[int, OutboxRecord]]:
        """Unacknowledged records with ids above `after`, oldest first, each with its id (the first is 1)."""
        ...

    def close(self) -> None:
        """Let go of files and locks."""
        ...


def rows_of(reader: Reader, kind: int) -> Iterator[Rows]:
    """Every row of a kind, flushed or not: later values after earlier ones."""
    yield from reader.scan(kind)
    yield from journalled_rows(reader, kind)


def journalled_rows(reader: Reader, kind: int) -> Iterator[Rows]:
    """The rows of a kind that are not flushed, later values after earlier ones."""
    for entry in reader.journal(reader.head().flushed_through):
        yield from (rows for rows in entry.rows if rows.kind == kind)


class Writer(Reader, Protocol):
    """The sole owner of a store. Its own writes are visible to it at once."""

    @property
    def journal_bytes(self) -> int:
        """Journal bytes since the last flush."""
        ...

    @property
    def outbox_bytes(self) -> int:
        """Bytes of unacknowledged records."""
        ...

    @property
    def outbox_count(self) -> int:
        """Unacknowledged records."""
        ...

    def commit(self, commit: Commit) -> None:
        """Write one micro-batch atomically; `batch_seq` must be the head's plus one."""
        ...

    def acknowledge(self, ids: Iterable[int]) -> None:
        """Remove outbox records that a broker has acknowledged."""
        ...

    def heartbeat(self, applied_through_ms: Mapping[TopicPartition, int]) -> None:
        """Say how fresh the state is; no micro-batch, outside the digest."""
        ...

    def begin_flush(self, rows: Iterable[Rows], first_new: Mapping[int, int], through: int) -> Flush:
        """Start moving rows to the row family.

        `rows`: the present value of every row changed after `flushed_through`, up to and including
        batch `through`; `first_new`: for each kind with ids the first ordinal that is not in the index
        yet, so that rows from there on are entered into it.
        """
        ...

    def sync(self) -> None:
        """Make every commit so far survive a power cut."""
        ...

    def begin_keep(self, describe: Callable[[], Version]) -> Keeping:
        """Start keeping the state, immutable, as the version that `describe` names once it is captured."""
        ...

    def begin_generation(self, predecessor: Head, version: VersionId) -> None:
        """Become the next generation after `predecessor`, and go on from there with the rows that are here.

        They are those of `version` and must be flushed. Offsets, micro-batches and heartbeats are the
        predecessor's; memos stay; schedule and outbox begin empty.
        """
        ...

    def prune_versions(self, kept: int) -> None:
        """Delete all versions but the newest `kept` and the pinned ones.

        With them go the schedule entries that only versions before the newest `kept` needed.
        """
        ...
