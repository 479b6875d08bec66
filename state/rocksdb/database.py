"""How a store lies in RocksDB, and reading it; shared by the writer and by scorers' secondaries.

Column families, all created at first open:

    default    identity, head, applied, memo/<name>
    journal    batch_seq (8 bytes, big endian) -> packed rows
    rows       0x00 -> flushed_through;  'i' kind hash id -> ordinal;  'r' kind ordinal -> row
    schedule   batch_seq -> JSON
    outbox     record id -> record

The row family is written by nothing but the ingestion of one SST file per flush, which holds
`flushed_through` too: rows and the number that says how far they go appear together.
"""

import difflib
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Env,
    Options,
    Rdict,
)

from state.arrays import I64
from state.codec import FORMAT, id_keys, unpack_journal, unpack_schedule
from state.errors import (
    ConfigError,
    FormatMismatchError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
)
from state.rocksdb.manifest import RESTORE_ADVICE, require_whole_manifest
from state.store import Head, JournalEntry, OutboxRecord, Rows, TopicPartition, VersionId

FAMILIES = ("journal", "rows", "schedule", "outbox")
FLUSHED_KEY = b"\x00"
SCAN_ROWS = 20_000
_BLOCK_CACHE_BYTES = 16 << 20
_WAL_BYTES_MAX = 96 << 20
_NEW_HEAD: Mapping[str, Any] = {
    "generation": 1,
    "batch_seq": 0,
    "version": str(VersionId(1, 0)),
    "offsets": [],
}


def pack_flushed(through: int) -> bytes:
    """What stands under `FLUSHED_KEY`."""
    return struct.pack("<q", through)


def number_key(number: int) -> bytes:
    """A key that sorts as its number."""
    return struct.pack(">Q", number)


def row_prefix(kind: int) -> bytes:
    """Prefix of the keys of a kind's rows."""
    return b"r" + bytes([kind])


def row_options() -> Options:
    """Options of the row family: incompressible rows, found by exact key."""
    options, table = Options(raw_mode=True), BlockBasedOptions()
    table.set_bloom_filter(10, False)
    table.set_block_size(8 << 10)
    table.set_block_cache(Cache(_BLOCK_CACHE_BYTES))
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.none())
    options.set_target_file_size_base(128 << 20)
    options.set_max_bytes_for_level_base(512 << 20)
    _compact_seldom(options)
    return options


def _compact_seldom(options: Options) -> None:
    """Let a dozen files gather before they are merged.

    Compaction shares the processor with learning: merging every four files cost as much as writing them.
    Bloom filters keep the files cheap to look into, and journal entries are mostly deleted by then.
    """
    options.set_level_zero_file_num_compaction_trigger(12)
    options.set_level_zero_slowdown_writes_trigger(36)
    options.set_level_zero_stop_writes_trigger(48)


def _family_options() -> dict[str, Options]:
    journal, schedule = Options(raw_mode=True), Options(raw_mode=True)
    journal.set_compression_type(DBCompressionType.none())
    journal.set_write_buffer_size(32 << 20)
    _compact_seldom(journal)
    schedule.set_compression_type(DBCompressionType.lz4())
    schedule.set_write_buffer_size(4 << 20)
    return {"journal": journal, "rows": row_options(), "schedule": schedule, "outbox": Options(raw_mode=True)}


def open_database(path: Path, access: AccessType, tuning: Mapping[str, Any] | None = None) -> Rdict:
    """Open or create a database; RocksDB's complaints become named errors.

    `tuning` is the `[rocksdb]` table: each key names a setter of rocksdict's Options without its `set_`.
    """
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_max_open_files(-1)
    options.set_keep_log_file_num(4)
    options.set_max_total_wal_size(_WAL_BYTES_MAX)
    options.set_max_background_jobs(2)
    options.set_env(_gentle_environment())
    # What a power cut leaves is a prefix of history, and damage in its middle ends it there.
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    apply_tuning(options, tuning or {})
    require_whole_manifest(path)
    try:
        return Rdict(str(path), options, _family_options(), access)
    except Exception as error:
        raise named_error(error, path) from error


def _gentle_environment() -> Env:
    """Merging files waits where learning and answering want the processor: it is in no hurry."""
    environment = Env()
    environment.lower_thread_pool_cpu_priority()
    return environment


def apply_tuning(options: Options, tuning: Mapping[str, Any]) -> None:
    """Hand the `[rocksdb]` table to RocksDB."""
    for name, value in tuning.items():
        setter = getattr(options, f"set_{name}", None)
        if setter is None:
            known = [setting[4:] for setting in dir(options) if setting.startswith("set_")]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it or correct its name"
            raise ConfigError(f"[rocksdb] {name} is not an option of RocksDB here; {hint}")
        try:
            setter(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"[rocksdb] {name} cannot be {value!r}: {error}; correct the value") from error


def named_error(error: Exception, path: Path) -> StoreError:
    """RocksDB's message as one of ours, with what to do."""
    text = str(error)
    if "No space left" in text or "Disk quota" in text or "File too large" in text:
        return StoreFullError(
            f"no room on the disk of {path}: {text}. Make room and start again; nothing committed is lost"
        )
    if "lock" in text.lower() and ("hold" in text.lower() or "LOCK" in text):
        return StoreLockedError(
            f"{path} is open in another process: stop it, or wait for it with --standby ({text})"
        )
    if any(sign in text for sign in ("Corruption", "not an sstable", "checksum", "No such file")):
        return StoreCorruptError(
            f"a file of {path} is damaged or missing: {text}. If it keeps a learner from starting, "
            f"{RESTORE_ADVICE}; a scorer tries again by itself"
        )
    return StoreError(f"RocksDB cannot use {path}: {text}")


class RocksView:
    """The reading half of a store on one open database: `state.store.Reader` but for catching up."""

    def __init__(self, database: Rdict, path: Path) -> None:
        self.path = path
        self._database = database
        self._journal, self._rows, self._schedule, self._outbox = map(database.get_column_family, FAMILIES)

    def _release(self) -> None:
        """Close the database: it stays open for as long as anything refers to one of its families."""
        del self._journal, self._rows, self._schedule, self._outbox
        try:
            self._database.close()
        except Exception as error:
            raise named_error(error, self.path) from error

    def identity(self) -> Mapping[str, Any]:
        """What the store was created for: format, model, rank and the like; empty in a new store."""
        (value,) = self._get(self._database, [b"identity"])
        identity: Mapping[str, Any] = orjson.loads(value) if value else {}
        if identity and identity["format"] != FORMAT:
            raise FormatMismatchError(
                f"{self.path} has format {identity['format']}, this program format {FORMAT}: "
                "run `livefactor state upgrade`"
            )
        return identity

    def flushed_through(self) -> int:
        """Micro-batch that the row family is complete through."""
        (value,) = self._get(self._rows, [FLUSHED_KEY])
        return int(struct.unpack("<q", value)[0]) if value else 0

    def head(self) -> Head:
        """Offsets, sequence numbers and memos of the view."""
        value, applied = self._get(self._database, [b"head", b"applied"])
        memo = {key[5:].decode(): content for key, content in self._prefixed(self._database, b"memo/")}
        flushed = self.flushed_through()
        head: dict[str, Any] = orjson.loads(value) if value else dict(_NEW_HEAD)
        return Head(
            generation=head["generation"],
            batch_seq=head["batch_seq"],
            flushed_through=flushed,
            version=VersionId.parse(head["version"]),
            offsets={TopicPartition(t, p): offset for t, p, offset in head["offsets"]},
            memo=memo,
            applied_through_ms={
                TopicPartition(t, p): ms for t, p, ms in (orjson.loads(applied) if applied else [])
            },
        )

    def journal(self, after: int) -> Iterator[JournalEntry]:
        """Entries with `batch_seq > after`, ascending, up to the first gap."""
        expected = after + 1
        for key, value in self._items(self._journal, number_key(expected)):
            if key != number_key(expected):
                return
            yield unpack_journal(value)
            expected += 1

    def lookup(self, kind: int, ids: Sequence[bytes]) -> I64:
        """Ordinals of ids in the row family, -1 where absent."""
        values = self._get(self._rows, id_keys(kind, ids))
        return np.array(
            [-1 if value is None else int.from_bytes(value, "little") for value in values], np.int64
        )

    def load(self, kind: int, ordinals: Sequence[int] | I64) -> Rows:
        """Rows of the row family, ascending; ordinals absent there are left out."""
        wanted = np.unique(np.asarray(ordinals, np.int64))
        keys = wanted.astype(">u8").tobytes()
        prefix = row_prefix(kind)
        values = self._get(self._rows, [prefix + keys[i : i + 8] for i in range(0, len(keys), 8)])
        present = np.array([value is not None for value in values], np.bool_)
        return _rows(kind, wanted[present], [value for value in values if value is not None])

    def scan(self, kind: int) -> Iterator[Rows]:
        """Every row of a kind in the row family, ascending by ordinal, in chunks."""
        ordinals: list[int] = []
        values: list[bytes] = []
        for key, value in self._prefixed(self._rows, row_prefix(kind)):
            ordinals.append(int.from_bytes(key[2:], "big"))
            values.append(value)
            if len(values) == SCAN_ROWS:
                yield _rows(kind, np.array(ordinals, np.int64), values)
                ordinals, values = [], []
        if values:
            yield _rows(kind, np.array(ordinals, np.int64), values)

    def schedule(self, after: int = 0) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Schedule entries with `batch_seq > after`, ascending."""
        for key, value in self._items(self._schedule, number_key(after + 1)):
            yield int.from_bytes(key, "big"), unpack_schedule(value)

    def outbox(self, after: int = 0) -> Iterator[tuple[int, OutboxRecord]]:
        """Unacknowledged records with ids above `after`, oldest first, each with its id."""
        for key, value in self._items(self._outbox, number_key(after + 1)):
            yield int.from_bytes(key, "big"), unpack_outbox(value)

    def _get(self, family: Rdict, keys: list[bytes]) -> list[bytes | None]:
        """Values of keys; one call, since rocksdict lets other threads run only during such."""
        try:
            found: Any = family.get(keys) if keys else []  # type: ignore[arg-type]
        except Exception as error:
            raise named_error(error, self.path) from error
        return list(found)

    def _items(self, family: Rdict, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs from a key on; keys are bytes, since every family is in raw mode.

        rocksdict ends an iteration at a damaged block as if it were the last one, so what follows the end
        is looked for once more, where an error shows.
        """
        pairs: Any = family.items(from_key=first)
        last = first
        try:
            for pair in pairs:
                last = pair[0] + b"\x00"
                yield pair
            rest = family.iter()
            rest.seek(last)
            rest.status()
        except Exception as error:
            raise named_error(error, self.path) from error

    def _prefixed(self, family: Rdict, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._items(family, prefix):
            if not key.startswith(prefix):
                return
            yield key, value


def pack_outbox(record: OutboxRecord) -> bytes:
    """An outbox record as length-prefixed fields; a length of all ones stands for None."""
    fields: list[bytes | None] = [record.topic.encode(), record.key, record.value]
    for name, content in record.headers:
        fields += [name.encode(), content]
    return b"".join(
        struct.pack("<I", 0xFFFFFFFF) if field is None else struct.pack("<I", len(field)) + field
        for field in fields
    )


def unpack_outbox(value: bytes) -> OutboxRecord:
    """Inverse of `pack_outbox`."""
    fields: list[bytes | None] = []
    p = 0
    while p < len(value):
        (length,) = struct.unpack_from("<I", value, p)
        p += 4
        if length == 0xFFFFFFFF:
            fields.append(None)
        else:
            fields.append(value[p : p + length])
            p += length
    names, contents = fields[3::2], fields[4::2]
    headers = tuple(
        (str(name, "utf-8"), content or b"")
        for name, content in zip(names, contents, strict=True)
        if name is not None
    )
    return OutboxRecord(str(fields[0] or b"", "utf-8"), fields[1], fields[2], headers)


def _rows(kind: int, ordinals: I64, values: Sequence[bytes]) -> Rows:
    bounds = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=bounds[1:])
    return Rows(kind, ordinals, bounds, np.frombuffer(b"".join(values), np.uint8))
