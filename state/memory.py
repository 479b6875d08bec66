"""The in-memory twin of the store: dictionaries, and the same behaviour.

For tests, for the warm-up of a learner that stands by, and as the plainest statement of what a store is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from state.arrays import I64
from state.codec import pack_journal, row_ids, unpack_journal
from state.errors import StoreError
from state.store import (
    Commit,
    Head,
    JournalEntry,
    OutboxRecord,
    Rows,
    TopicPartition,
    Version,
    VersionId,
    require_flushed,
    successor,
)


def _empty_head() -> Head:
    return Head(1, 0, 0, VersionId(1, 0), {}, {}, {})


@dataclass
class MemoryReader:
    """A view of a MemoryStore that moves at `catch_up` only. Implements `state.store.Reader`."""

    source: "MemoryReader | None" = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    _head: Head = field(default_factory=_empty_head)
    _journal: dict[int, bytes] = field(default_factory=dict)
    _rows: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _index: dict[tuple[int, bytes], int] = field(default_factory=dict)
    _schedule: dict[int, Mapping[str, object]] = field(default_factory=dict)
    _outbox: dict[int, OutboxRecord] = field(default_factory=dict)

    def catch_up(self) -> None:
        """Take over what the store holds now."""
        if self.source is not None:
            source = self.source
            self.facts, self._head = source.facts, source._head
            self._journal, self._schedule = dict(source._journal), dict(source._schedule)
            self._rows, self._index, self._outbox = (
                dict(source._rows),
                dict(source._index),
                dict(source._outbox),
            )

    def identity(self) -> Mapping[str, Any]:
        """What the store was created for."""
        return self.facts

    def head(self) -> Head:
        """Offsets, sequence numbers and memos of the view."""
        return self._head

    def journal(self, after: int) -> Iterator[JournalEntry]:
        """Entries with `batch_seq > after`, ascending, up to the first gap."""
        batch_seq = after + 1
        while batch_seq in self._journal:
            yield unpack_journal(self._journal[batch_seq])
            batch_seq += 1

    def lookup(self, kind: int, ids: Sequence[bytes]) -> I64:
        """Ordinals of ids in the row family, -1 where absent."""
        return np.array([self._index.get((kind, name), -1) for name in ids], np.int64)

    def load(self, kind: int, ordinals: Sequence[int] | I64) -> Rows:
        """Rows of the row family, ascending; ordinals absent there are left out."""
        present = [o for o in np.unique(np.asarray(ordinals, np.int64)).tolist() if (kind, o) in self._rows]
        return self._block(kind, present)

    def scan(self, kind: int) -> Iterator[Rows]:
        """Every row of a kind in the row family, ascending by ordinal."""
        ordinals = sorted(ordinal for code, ordinal in self._rows if code == kind)
        if ordinals:
            yield self._block(kind, ordinals)

    def schedule(self, after: int = 0) -> Iterator[tuple[int, Mapping[str, object]]]:
        """Schedule entries as (batch_seq, entry) with `batch_seq > after`, ascending."""
        for batch_seq in sorted(self._schedule):
            if batch_seq > after:
                yield batch_seq, self._schedule[batch_seq]

    def outbox(self, after: int = 0) -> Iterator[tuple[int, OutboxRecord]]:
        """Unacknowledged records with ids above `after`, oldest first, each with its id."""
        yield from sorted(
            (record_id, record) for record_id, record in self._outbox.items() if record_id > after
        )

    def close(self) -> None:
        """Nothing to let go of."""

    def _block(self, kind: int, ordinals: list[int]) -> Rows:
        values = [self._rows[kind, ordinal] for ordinal in ordinals]
        bounds = np.zeros(len(values) + 1, np.int64)
        np.cumsum([len(value) for value in values], out=bounds[1:])
        return Rows(kind, np.array(ordinals, np.int64), bounds, np.frombuffer(b"".join(values), np.uint8))


class MemoryStore(MemoryReader):
    """Implements `state.store.Writer`."""

    def __init__(self, identity: Mapping[str, Any] | None = None) -> None:
        """An empty store."""
        super().__init__(facts=identity or {})
        self._outbox_next = 1
        self.versions: list[Version] = []
        self.synced_through = 0

    @property
    def outbox_count(self) -> int:
        """Unacknowledged records."""
        return len(self._outbox)

    @property
    def outbox_bytes(self) -> int:
        """Bytes of unacknowledged records."""
        return sum(record.size for record in self._outbox.values())

    @property
    def journal_bytes(self) -> int:
        """Bytes of the journal since the last flush."""
        return sum(len(value) for seq, value in self._journal.items() if seq > self._head.flushed_through)

    def reader(self) -> MemoryReader:
        """A view as a scorer has it."""
        reader = MemoryReader(self)
        reader.catch_up()
        return reader

    def commit(self, commit: Commit) -> None:
        """Write one micro-batch atomically."""
        if commit.batch_seq != self._head.batch_seq + 1:
            raise StoreError(
                f"micro-batch {commit.batch_seq} cannot follow {self._head.batch_seq} in memory: "
                "start the learner again; it goes on from what is stored"
            )
        self._journal[commit.batch_seq] = pack_journal(JournalEntry(commit.batch_seq, commit.rows))
        if commit.schedule:
            self._schedule[commit.batch_seq] = commit.schedule
        for record in commit.outbox:
            self._outbox[self._outbox_next] = record
            self._outbox_next += 1
        self._head = replace(
            self._head,
            batch_seq=commit.batch_seq,
            offsets={**self._head.offsets, **commit.offsets},
            memo={**self._head.memo, **commit.memo},
        )

    def acknowledge(self, ids: Iterable[int]) -> None:
        """Remove outbox records that a broker has acknowledged."""
        for record_id in ids:
            self._outbox.pop(record_id, None)

    def heartbeat(self, applied_through_ms: Mapping[TopicPartition, int]) -> None:
        """Say how fresh the state is."""
        self._head = replace(
            self._head, applied_through_ms={**self._head.applied_through_ms, **applied_through_ms}
        )

    def begin_flush(self, rows: Iterable[Rows], first_new: Mapping[int, int], through: int) -> "MemoryFlush":
        """Start moving rows to the row family."""
        return MemoryFlush(self, list(rows), first_new, through)

    def sync(self) -> None:
        """Remember that everything so far would survive a power cut."""
        self.synced_through = self._head.batch_seq

    def trim_journal(self) -> None:
        """Delete flushed journal entries at once: nobody lags behind here."""
        self._journal = {
            seq: value for seq, value in self._journal.items() if seq > self._head.flushed_through
        }

    def begin_keep(self, describe: Callable[[], Version]) -> "MemoryKeeping":
        """Start keeping the state as a version."""
        return MemoryKeeping(self, describe)

    def begin_generation(self, predecessor: Head, version: VersionId) -> None:
        """Become the next generation after `predecessor`."""
        require_flushed(self._head, "memory")
        self._journal, self._schedule, self._outbox, self._outbox_next = {}, {}, {}, 1
        self._head = successor(predecessor, version, self._head.memo)

    def prune_versions(self, kept: int) -> None:
        """Forget all versions but the newest `kept`, and the schedule entries that only older ones needed.

        None can be pinned here.
        """
        if len(self.versions) > kept:
            self.versions = self.versions[-kept:]
            oldest = self.versions[0].id.batch_seq
            self._schedule = {seq: entry for seq, entry in self._schedule.items() if seq > oldest}


@dataclass
class MemoryKeeping:
    """Implements `state.store.Keeping`: remembers that there is a version, whose state is not kept."""

    store: MemoryStore
    describe: Callable[[], Version]

    def advance(self, *, wait: bool = False) -> bool:
        """There is nothing to wait for."""
        version = self.describe()
        self.store.versions.append(version)
        self.store._head = replace(self.store._head, version=version.id)
        return True


class MemoryFlush:
    """Implements `state.store.Flush`: everything appears at once when the last slice is written."""

    def __init__(
        self, store: MemoryStore, rows: list[Rows], first_new: Mapping[int, int], through: int
    ) -> None:
        self._store, self._rows, self._first_new, self._through = store, rows, first_new, through
        self._left = sum(len(block) for block in rows)

    def advance(self, rows_max: int) -> bool:
        """Write up to `rows_max` rows more; True when the flush is complete."""
        self._left -= rows_max
        if self._left > 0:
            return False
        store = self._store
        for block in self._rows:
            store._rows.update({(block.kind, o): block.row(i) for i, o in enumerate(block.ordinals.tolist())})
            if block.kind in self._first_new:
                self._enter(block, self._first_new[block.kind])
        store._head = replace(store._head, flushed_through=self._through)
        store.trim_journal()
        return True

    def _enter(self, block: Rows, first: int) -> None:
        """Put the ids of new rows into the index."""
        for ordinal, start, length in zip(block.ordinals.tolist(), *row_ids(block), strict=True):
            if ordinal >= first:
                self._store._index[block.kind, block.data[start : start + length].tobytes()] = ordinal
