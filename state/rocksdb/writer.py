"""The sole owner of a store in RocksDB."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from rocksdict import (
    AccessType,
    BottommostLevelCompaction,
    Checkpoint,
    CompactOptions,
    IngestExternalFileOptions,
    WriteBatch,
)

from state.codec import FORMAT, pack_journal, pack_schedule
from state.config import StateConfig
from state.errors import StoreError, StoreMissingError
from state.identity import mismatches
from state.rocksdb.database import (
    FLUSHED_KEY,
    RocksView,
    named_error,
    number_key,
    open_database,
    pack_flushed,
    pack_outbox,
)
from state.rocksdb.directory import Directory, DirectoryLock
from state.rocksdb.flush import RocksFlush
from state.rocksdb.keeping import RocksKeeping
from state.rocksdb.versions import Versions
from state.store import (
    Commit,
    Head,
    JournalEntry,
    Rows,
    TopicPartition,
    Version,
    VersionId,
    require_flushed,
    successor,
)

BOTTOM_LEVEL = 6
MERGED_FROM = 16
"""More files of one kind than this are merged when a store is opened, ..."""

SMALL_BYTES = 4 << 20
"""... if they are smaller than this on average: others come from long runs, and would take long."""

LAST_KEY = number_key((1 << 64) - 1)
"""Behind the key of every number that is given."""

Probe = Callable[[str], None]
"""Called at each named point of a durable step; crash tests end the process there."""


def no_probe(point: str) -> None:
    """Go on."""


class RocksWriter(RocksView):
    """Implements `state.store.Writer`."""

    def __init__(
        self,
        config: StateConfig,
        identity: Mapping[str, Any],
        *,
        lock: DirectoryLock | None = None,
        tuning: Mapping[str, Any] | None = None,
        probe: Probe = no_probe,
    ) -> None:
        """Open the store under `config.directory`, creating it if there is none.

        `identity`: model, rank, algorithm, feedback and other facts that the rows depend on; a store of
        another identity is refused with the error that names the difference. `lock`: acquired already, and
        released by whoever did; None to acquire it here.
        """
        self._config, self._probe = config, probe
        self._directory = Directory(config.directory)
        self._versions = Versions(self._directory)
        self._aside = ThreadPoolExecutor(1, "version")
        self._lock = None if lock else DirectoryLock(config.directory)
        if self._lock:
            self._lock.acquire()
        try:
            path = self._prepare()
            super().__init__(open_database(path, AccessType.read_write(), tuning), path)
        except BaseException:
            self._let_go()
            raise
        self._families: dict[str, Any] = {
            name: self._database.get_column_family_handle(name) for name in ("journal", "schedule", "outbox")
        }
        try:
            self._check_identity({"format": FORMAT, **identity})
            if not self._directory.pointer.exists():
                self._directory.point_to(path)
            self._restore()
            self._merge_files()
        except BaseException:
            self.close()
            raise
        probe("opened")

    def _merge_files(self) -> None:
        """Merge the files that short runs have left: each leaves two, whose keys lie behind all others.

        RocksDB only moves such files down the levels, and whoever has the store open has all of them open.
        """
        whole = CompactOptions()
        whole.set_bottommost_level_compaction(BottommostLevelCompaction.force())
        for family in (self._journal, self._schedule):
            files = family.property_int_value(f"rocksdb.num-files-at-level{BOTTOM_LEVEL}") or 0
            held_bytes = family.property_int_value("rocksdb.total-sst-files-size") or 0
            if files > MERGED_FROM and held_bytes < files * SMALL_BYTES:
                family.compact_range(None, None, whole)

    def _restore(self) -> None:
        """Take up from what is stored."""
        self._head = super().head()
        self._flushed = self._head.flushed_through
        last: Any = next(iter(self._outbox.keys(backwards=True)), b"")
        self._outbox_next = int.from_bytes(last, "big") + 1
        self.outbox_bytes = sum(record.size for _, record in self.outbox())
        self._outbox_sizes = {record_id: record.size for record_id, record in self.outbox()}
        self._trims: list[tuple[float, int]] = [(time.monotonic(), self._flushed)]
        self._synced = time.monotonic()
        self.journal_bytes = sum(
            len(value) for _, value in self._items(self._journal, number_key(self._flushed + 1))
        )

    def _prepare(self) -> Path:
        """Where the database is or will be, and an empty place for files to be ingested."""
        self._staging = self._directory.empty_staging()
        self._versions.clear_unfinished()
        try:
            database = self._directory.database()
        except StoreMissingError:
            return self._directory.generation(1)
        self._directory.delete_others(database)
        return database

    def _check_identity(self, identity: Mapping[str, Any]) -> None:
        stored = self.identity()
        if not stored:
            self._database.put(b"identity", orjson.dumps(identity, option=orjson.OPT_SORT_KEYS))
            return
        remedy = "restore the setting, or give the new model another `state.directory`"
        for error in mismatches(self._config.directory, stored, identity, remedy):
            raise error

    @property
    def outbox_count(self) -> int:
        """Unacknowledged records."""
        return len(self._outbox_sizes)

    def catch_up(self) -> None:
        """Nothing to do: the writer sees its own writes."""

    def head(self) -> Head:
        """Offsets, sequence numbers and memos; kept in memory, since nobody else writes."""
        return self._head

    def commit(self, commit: Commit) -> None:
        """Write one micro-batch atomically.

        1. Pack the journal entry.
        2. Put it, head (offsets, batch_seq), schedule entry, memos and outbox records into one WriteBatch.
        3. Write it to the write-ahead log and the memtables: from here on the batch has happened.
        4. Sync the log, if it is time to.
        """
        if commit.batch_seq != self._head.batch_seq + 1:
            raise StoreError(
                f"micro-batch {commit.batch_seq} cannot follow {self._head.batch_seq} in {self.path}: "
                "start the learner again; it goes on from what is stored"
            )
        journal = pack_journal(JournalEntry(commit.batch_seq, commit.rows))
        batch, head = self._batch(commit, journal)
        self._probe("before_write")
        self._write(batch)
        self._probe("after_write")
        self._head = head
        self.journal_bytes += len(journal)
        self._sync_when_due()

    def _batch(self, commit: Commit, journal: bytes) -> tuple[WriteBatch, Head]:
        batch = WriteBatch(raw_mode=True)
        key = number_key(commit.batch_seq)
        if commit.schedule:
            batch.put(key, pack_schedule(commit.schedule), self._families["schedule"])
        for record in commit.outbox:
            batch.put(number_key(self._outbox_next), pack_outbox(record), self._families["outbox"])
            self._outbox_sizes[self._outbox_next] = record.size
            self._outbox_next += 1
            self.outbox_bytes += record.size
        for name, content in commit.memo.items():
            batch.put(b"memo/" + name.encode(), content)
        head = Head(
            self._head.generation,
            commit.batch_seq,
            self._flushed,
            self._head.version,
            {**self._head.offsets, **commit.offsets},
            {**self._head.memo, **commit.memo},
            self._head.applied_through_ms,
        )
        batch.put(b"head", _pack_head(head))
        # Last: what followed it would make the batch's buffer grow and copy the journal entry once more.
        batch.put(key, journal, self._families["journal"])
        return batch, head

    def acknowledge(self, ids: Iterable[int]) -> None:
        """Remove outbox records that a broker has acknowledged."""
        batch = WriteBatch(raw_mode=True)
        for record_id in ids:
            batch.delete(number_key(record_id), self._families["outbox"])
            self.outbox_bytes -= self._outbox_sizes.pop(record_id, 0)
        if not batch.is_empty():
            self._probe("before_acknowledge")
            self._write(batch)
            self._probe("after_acknowledge")

    def heartbeat(self, applied_through_ms: Mapping[TopicPartition, int]) -> None:
        """Say how fresh the state is."""
        applied = {**self._head.applied_through_ms, **applied_through_ms}
        self._head = replace(self._head, applied_through_ms=applied)
        batch = WriteBatch(raw_mode=True)
        batch.put(b"applied", _pack_applied(self._head))
        self._write(batch)
        self._sync_when_due()

    def begin_flush(self, rows: Iterable[Rows], first_new: Mapping[int, int], through: int) -> RocksFlush:
        """Start moving rows to the row family; see `RocksFlush`."""
        self._probe("before_flush")
        self.sync()
        return RocksFlush(self, self._staging / f"{through}.sst", list(rows), first_new, through)

    def ingest(self, file: Path, through: int, journal_bytes: int) -> None:
        """Take a finished flush over: rows and `flushed_through` appear together."""
        self._probe("before_ingest")
        options = IngestExternalFileOptions()
        options.set_move_files(True)
        self._rows.ingest_external_file([str(file)], options)
        self._probe("after_ingest")
        self._flushed = through
        self._head = replace(self._head, flushed_through=through)
        self.journal_bytes -= journal_bytes
        self._trims.append((time.monotonic(), through))
        self.trim_journal()

    def sync(self) -> None:
        """Make every commit so far survive a power cut."""
        try:
            self._database.flush_wal(True)
        except Exception as error:
            raise named_error(error, self.path) from error
        self._synced = time.monotonic()

    def trim_journal(self) -> None:
        """Delete journal entries whose flush is so long ago that every scorer has seen it."""
        due = time.monotonic() - self._config.journal_keep_ms / 1000
        expired = [through for flushed_at, through in self._trims if flushed_at <= due]
        if expired:
            self._trims = self._trims[len(expired) :]
            batch = WriteBatch(raw_mode=True)
            batch.delete_range(number_key(0), number_key(expired[-1] + 1), self._families["journal"])
            self._write(batch)

    def begin_keep(self, describe: Callable[[], Version]) -> RocksKeeping:
        """Start keeping the state as a version; see `RocksKeeping`."""
        return RocksKeeping(self, describe, self._aside)

    def flush_journal(self) -> None:
        """Write the journal's memtable to a file; may be called in another thread."""
        self._journal.flush()

    def capture(self, version: Version) -> None:
        """Put the present state aside: links to files, once the memtables are written to some."""
        self._probe("before_checkpoint")
        self._versions.capture(version, lambda path: Checkpoint(self._database).create_checkpoint(str(path)))
        self._probe("after_checkpoint")

    def complete(self, version: Version) -> None:
        """Make a version of what was captured; may be called in another thread."""
        self._probe("before_naming")
        self._versions.complete(version)
        self._probe("after_naming")

    def descend_from(self, version_id: VersionId) -> None:
        """Let the head say that it does."""
        self._head = replace(self._head, version=version_id)
        batch = WriteBatch(raw_mode=True)
        batch.put(b"head", _pack_head(self._head))
        self._write(batch)

    def begin_generation(self, predecessor: Head, version: VersionId) -> None:
        """Become the next generation after `predecessor`."""
        require_flushed(self._head, self.path)
        head = successor(predecessor, version, self._head.memo)
        batch = WriteBatch(raw_mode=True)
        for family in self._families.values():
            batch.delete_range(number_key(0), LAST_KEY, family)
        # The only write to this family that is no flush: it says the same as the last one, by another number.
        rows = self._database.get_column_family_handle("rows")
        batch.put(FLUSHED_KEY, pack_flushed(head.flushed_through), rows)
        batch.put(b"applied", _pack_applied(head))
        batch.put(b"head", _pack_head(head))
        self._write(batch)
        self._restore()

    def prune_versions(self, kept: int) -> None:
        """Delete all versions but the newest `kept` and the pinned, and schedule entries before those."""
        self._probe("before_prune")
        oldest = self._versions.prune(kept)
        self._probe("after_prune")
        if oldest is not None:
            batch = WriteBatch(raw_mode=True)
            first = number_key(oldest.id.batch_seq + 1)
            batch.delete_range(number_key(0), first, self._families["schedule"])
            self._write(batch)

    def close(self) -> None:
        """Let go of the database, and of the directory unless somebody else has locked it."""
        self._aside.shutdown()
        self._families.clear()
        self._release()
        self._let_go()

    def _let_go(self) -> None:
        if self._lock:
            self._lock.release()

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._database.write(batch)
        except Exception as error:
            raise named_error(error, self.path) from error

    def _sync_when_due(self) -> None:
        due = self._synced + self._config.sync_interval_ms / 1000
        if self._config.sync == "always" or (self._config.sync == "interval" and time.monotonic() >= due):
            self.sync()


def _pack_applied(head: Head) -> bytes:
    return orjson.dumps([[t, p, ms] for (t, p), ms in head.applied_through_ms.items()])


def _pack_head(head: Head) -> bytes:
    return orjson.dumps(
        {
            "generation": head.generation,
            "batch_seq": head.batch_seq,
            "version": str(head.version),
            "offsets": [[t, p, offset] for (t, p), offset in sorted(head.offsets.items())],
        }
    )
