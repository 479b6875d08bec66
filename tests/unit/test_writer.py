"""What only the store in RocksDB has: files, locks, guards, and tuning."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
import pytest
import store_checks
from rocksdict import AccessType
from store_checks import commit, flush, journal, keep, users

from state.codec import USER
from state.config import StateConfig
from state.errors import (
    ConfigError,
    FormatMismatchError,
    ModelMismatchError,
    RankMismatchError,
    SettingsMismatchError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreMissingError,
)
from state.rocksdb.database import open_database
from state.rocksdb.directory import Directory, DirectoryLock
from state.rocksdb.reader import RocksReader
from state.rocksdb.versions import Versions
from state.rocksdb.writer import RocksWriter
from state.store import Version, VersionId

IDENTITY = {
    "model": "films",
    "rank": 4,
    "algorithm": "als",
    "feedback": "implicit",
    "history_max": 100,
    "event_ids_kept": 10,
}


@pytest.fixture
def config(tmp_path):
    return StateConfig(directory=tmp_path / "state", sync="never")


@pytest.fixture
def writer(config):
    store = RocksWriter(config, IDENTITY)
    yield store
    if hasattr(store, "_journal"):
        store.close()


def filled(config, **fields):
    """A closed store with two flushed users and one more in the journal."""
    store = RocksWriter(config.model_copy(update=fields), IDENTITY)
    commit(store, users(u0=b"a", u1=b"b"), offsets={store_checks.P0: 2})
    flush(store, users(u0=b"a", u1=b"b"), first_new={USER: 0})
    commit(store, users(u2=b"c"), offsets={store_checks.P0: 3})
    store.close()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("model", "books", ModelMismatchError),
        ("rank", 8, RankMismatchError),
        ("algorithm", "sgd", SettingsMismatchError),
        ("feedback", "explicit", SettingsMismatchError),
        ("history_max", 50, SettingsMismatchError),
        ("event_ids_kept", 20, SettingsMismatchError),
    ],
)
def test_another_identity_is_refused_by_name_and_changes_nothing(config, name, value, error):
    filled(config)
    with pytest.raises(error, match=rf"(?s){name}.*{value}.*state\.directory"):
        RocksWriter(config, {**IDENTITY, name: value})
    store = RocksWriter(config, IDENTITY)
    assert store.head().batch_seq == 2
    store.close()


def test_another_format_is_refused_and_lets_go_of_the_directory(config):
    filled(config)
    database = open_database(Directory(config.directory).database(), AccessType.read_write())
    database.put(b"identity", orjson.dumps({**IDENTITY, "format": 99}))
    database.close()
    for _ in range(2):
        with pytest.raises(FormatMismatchError, match="state upgrade"):
            RocksWriter(config, IDENTITY)


def test_a_second_learner_is_refused_with_the_first_ones_process_id(config, writer):
    with pytest.raises(StoreLockedError, match=f"process id {os.getpid()}.*--standby"):
        RocksWriter(config, IDENTITY)
    assert not DirectoryLock(config.directory).try_acquire()
    writer.close()
    RocksWriter(config, IDENTITY).close()


def test_the_lock_ends_with_its_process(config):
    """However it ends: the kernel lets go."""
    script = (
        "import sys, time, pathlib; from state.rocksdb.directory import DirectoryLock\n"
        f"DirectoryLock(pathlib.Path({str(config.directory)!r})).acquire()\n"
        "print('mine', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(StoreLockedError, match=f"process id {holder.pid}"):
            RocksWriter(config, IDENTITY)
    finally:
        holder.kill()
        holder.wait()
    RocksWriter(config, IDENTITY).close()


def test_a_reader_needs_a_store(config, tmp_path):
    with pytest.raises(StoreMissingError, match="livefactor learn"):
        RocksReader(tmp_path / "nothing")
    config.directory.mkdir()
    (config.directory / "generation").write_text("generation-000001\n")
    with pytest.raises(StoreMissingError):
        RocksReader(config.directory)


def test_a_directory_that_is_a_file_is_named_with_what_to_do(config):
    config.directory.write_text("")
    for use in (DirectoryLock, RocksReader):
        with pytest.raises(StoreError, match=rf"{config.directory} cannot be used.*set another"):
            use(config.directory)
    inside = config.model_copy(update={"directory": config.directory / "deeper"})
    with pytest.raises(StoreError, match=r"deeper cannot be used.*Not a directory"):
        RocksWriter(inside, IDENTITY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_named(config):
    config.directory.mkdir(mode=0o500)
    with pytest.raises(StoreError, match=r"cannot be used.*Permission denied"):
        RocksWriter(config, IDENTITY)


def files(config, pattern):
    found = sorted(Directory(config.directory).database().glob(pattern))
    assert found
    return found


@pytest.mark.parametrize("pattern", ["*.sst", "MANIFEST-*", "CURRENT"])
def test_a_damaged_file_is_named(config, pattern):
    filled(config)
    for path in files(config, pattern):
        content = bytearray(path.read_bytes())
        content[: len(content) // 2] = bytes(len(content) // 2)
        path.chmod(0o644)
        path.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"(?s)damaged.*relearn"):
        read_everything(config)


def test_a_missing_table_file_is_named(config):
    filled(config)
    for path in files(config, "*.sst"):
        path.unlink()
    with pytest.raises(StoreCorruptError, match=r"(?s)missing.*relearn"):
        read_everything(config)


def read_everything(config):
    store = RocksWriter(config, IDENTITY)
    try:
        list(store.scan(USER))
        store.load(USER, [0, 1])
        store.lookup(USER, [b"u0"])
    finally:
        store.close()


def test_the_journal_is_trimmed_well_behind_the_flush_only(config):
    """A secondary may see the trim before the flush that allowed it."""
    store = RocksWriter(config.model_copy(update={"journal_keep_ms": 60_000}), IDENTITY)
    commit(store, users(u0=b"a"))
    flush(store, users(u0=b"a"))
    commit(store, users(u0=b"b"))
    flush(store, users(u0=b"b"))
    assert [seq for seq, _ in journal(store)] == [1, 2]
    assert store.journal_bytes == 0
    store.close()


def test_the_journal_is_trimmed_once_the_time_has_passed(config):
    store = RocksWriter(config.model_copy(update={"journal_keep_ms": 200}), IDENTITY)
    commit(store, users(u0=b"a"))
    flush(store, users(u0=b"a"))
    assert [seq for seq, _ in journal(store)] == [1]
    deadline_s = time.monotonic() + 10
    while journal(store):
        commit(store, users(u0=b"b"))
        store.trim_journal()
        assert time.monotonic() < deadline_s
    head = store.head()
    assert [seq for seq, _ in journal(store, 1)] == list(range(2, head.batch_seq + 1))
    store.close()


def version(batch_seq, reason="test"):
    where = {store_checks.P0: batch_seq}
    return Version(VersionId(1, batch_seq), VersionId(1, 0), reason, 7, "f", where, {"rank": 4}, {"k": 10})


def test_a_version_is_a_store_that_later_writes_do_not_touch(config, writer):
    commit(writer, users(u0=b"a"), offsets={store_checks.P0: 1})
    flush(writer, users(u0=b"a"), first_new={USER: 0})
    keep(writer, version(1))
    commit(writer, users(u0=b"b"), offsets={store_checks.P0: 2})
    flush(writer, users(u0=b"b"))
    versions = Versions(Directory(config.directory))
    assert versions.all() == [version(1)]
    versions.check(version(1))
    restored = config.model_copy(update={"directory": config.directory / "copy"})
    restored.directory.mkdir()
    adopted = Directory(restored.directory).adopt(versions.database(version(1)))
    assert adopted == Directory(restored.directory).database() == restored.directory / "generation-000001"
    store = RocksWriter(restored, IDENTITY)
    assert store.head().version == (1, 0), "what a version descends from, not itself"
    assert dict(store.head().offsets) == {store_checks.P0: 1}
    assert store_checks.scanned(store, USER) == {0: store_checks.row(b"u0", b"a")}
    store.close()
    versions.check(version(1))
    keep(writer, version(1, "again"))
    assert versions.all() == [version(1, "again")]
    assert [path.name for path in (config.directory / "versions").iterdir()] == ["g1.1"]


def test_a_version_is_the_state_at_which_it_was_captured(config, writer):
    """Rows need not be flushed, and learning goes on before and after."""
    commit(writer, users(u0=b"a"), offsets={store_checks.P0: 1})
    captured = []

    def describe():
        captured.append(writer.head().batch_seq)
        return version(captured[0])

    keeping = writer.begin_keep(describe)
    deadline_s = time.monotonic() + 30
    while not keeping.advance():
        at = commit(writer, users(u0=b"b"), offsets={store_checks.P0: writer.head().batch_seq + 1})
        assert time.monotonic() < deadline_s
    [batch_seq] = captured
    assert batch_seq <= at, "it is found to be kept after the commit that went on meanwhile"
    assert writer.head().version == (1, batch_seq)
    versions = Versions(Directory(config.directory))
    reader = RocksReader(config.directory, versions.database(versions.find(VersionId(1, batch_seq))))
    assert dict(reader.head().offsets) == {store_checks.P0: batch_seq}
    assert [entry.batch_seq for entry in reader.journal(0)] == list(range(1, batch_seq + 1))
    reader.close()
    versions.check(version(batch_seq))


def test_what_cannot_be_kept_leaves_nothing_and_harms_nothing(config, writer):
    commit(writer, users(u0=b"a"))
    place = config.directory / "versions"
    place.write_text("in the way")
    with pytest.raises(StoreError, match="versions"):
        keep(writer, version(1))
    place.unlink()
    with pytest.raises(StoreFullError, match="nothing committed is lost"):
        writer.begin_keep(no_room).advance(wait=True)
    assert not place.exists()
    assert writer.head().version == (1, 0)
    commit(writer, users(u0=b"b"))
    keep(writer, version(2))
    assert Versions(Directory(config.directory)).all() == [version(2)]


def no_room():
    raise OSError("No space left on device")


def test_a_database_that_nothing_points_to_yet_is_taken_up(config, writer):
    """As a crash between its creation and the pointer leaves it, or a version put there by hand."""
    commit(writer, users(u0=b"a"), offsets={store_checks.P0: 1})
    flush(writer, users(u0=b"a"), first_new={USER: 0})
    keep(writer, version(1))
    restored = config.model_copy(update={"directory": config.directory / "copy"})
    restored.directory.mkdir()
    versions = Versions(Directory(config.directory))
    versions.database(version(1)).rename(restored.directory / "generation-000001")
    store = RocksWriter(restored, IDENTITY)
    assert Directory(restored.directory).database() == restored.directory / "generation-000001"
    assert dict(store.head().offsets) == {store_checks.P0: 1}
    assert store_checks.scanned(store, USER) == {0: store_checks.row(b"u0", b"a")}
    store.close()


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "more"])
def test_a_version_whose_files_have_changed_is_named(config, writer, damage):
    commit(writer, users(u0=b"a"))
    flush(writer, users(u0=b"a"), first_new={USER: 0})
    keep(writer, version(1))
    versions = Versions(Directory(config.directory))
    file = min(versions.database(version(1)).glob("*.sst"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    # A new file of the same name: the old one is linked to the live store's.
    file.unlink()
    if damage in ("flipped", "cut"):
        file.write_bytes(content if damage == "flipped" else content[:-1])
    elif damage == "more":
        keep_nothing(versions, version(1))
        versions.check(version(1))
        file.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=f"{file.name} is not the file that was kept"):
        versions.check(version(1))


def test_old_versions_go_and_an_unfinished_one_is_none(config, writer):
    versions = Versions(Directory(config.directory))
    assert versions.all() == []
    for batch_seq in (1, 2, 9, 10):
        keep_nothing(versions, version(batch_seq))
    with pytest.raises(StoreError, match="no room"):
        versions.capture(version(11), fail)
    (config.directory / "versions" / ".12").mkdir()
    assert not (config.directory / "versions" / ".g1.11").exists()
    assert versions.all() == [version(n) for n in (1, 2, 9, 10)]
    assert versions.prune(4) is None
    assert versions.prune(2) == version(9)
    assert versions.all() == [version(9), version(10)]


def keep_nothing(versions, version):
    versions.capture(version, lambda path: path.mkdir())
    versions.complete(version)


def fail(path):
    path.mkdir()
    raise OSError("no room")


def test_an_unfinished_flush_leaves_nothing_behind(config):
    store = RocksWriter(config, IDENTITY)
    commit(store, users(u0=b"a", u1=b"b"))
    assert not store.begin_flush([users(u0=b"a", u1=b"b")], {USER: 0}, 1).advance(1)
    assert list((config.directory / "staging").iterdir())
    store.close()
    again = RocksWriter(config, IDENTITY)
    assert list((config.directory / "staging").iterdir()) == []
    assert again.head().flushed_through == 0
    flush(again, users(u0=b"a", u1=b"b"), first_new={USER: 0})
    assert again.lookup(USER, [b"u1"]).tolist() == [1]
    again.close()


def test_probes_name_every_durable_step(config):
    points = []
    store = RocksWriter(config, IDENTITY, probe=points.append)
    commit(store, users(u0=b"a"), outbox=(store_checks.OutboxRecord("t", None, b""),))
    flush(store, users(u0=b"a"))
    store.acknowledge([1])
    store.close()
    assert points == [
        "opened",
        "before_write",
        "after_write",
        "before_flush",
        "before_ingest",
        "after_ingest",
        "before_acknowledge",
        "after_acknowledge",
    ]


def test_tuning_reaches_rocksdb(config):
    store = RocksWriter(config, IDENTITY, tuning={"max_background_jobs": 3, "stats_dump_period_sec": 77})
    store.close()
    options = "".join(path.read_text() for path in files(config, "OPTIONS-*"))
    assert "max_background_jobs=3" in options
    assert "stats_dump_period_sec=77" in options


@pytest.mark.parametrize(
    ("tuning", "said"),
    [
        ({"max_background_job": 3}, r"max_background_job is not .* did you mean max_background_jobs\?"),
        ({"max_background_jobs": "three"}, r"max_background_jobs cannot be 'three'"),
        ({"max_background_jobs": 2.5}, r"max_background_jobs cannot be 2\.5"),
    ],
)
def test_wrong_tuning_is_named_and_lets_go_of_the_directory(config, tuning, said):
    with pytest.raises(ConfigError, match=rf"\[rocksdb\] {said}"):
        RocksWriter(config, IDENTITY, tuning=tuning)
    RocksWriter(config, IDENTITY).close()


@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_every_sync_setting_keeps_what_was_committed(config, sync):
    filled(config, sync=sync, sync_interval_ms=10)
    store = RocksWriter(config, IDENTITY)
    assert (store.head().batch_seq, dict(store.head().offsets)) == (2, {store_checks.P0: 3})
    store.close()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed by Linux only")
def test_merging_files_makes_way_for_learning_and_answering(tmp_path):
    database = open_database(tmp_path / "database", AccessType.read_write())
    rows = database.get_column_family("rows")
    for _ in range(2):
        rows[b"key"] = b"value"
        rows.flush()
    rows.compact_range(None, None)
    assert niceness_of("rocksdb:low") == 19 > os.nice(0)
    database.close()


def niceness_of(thread_name):
    for stat in Path("/proc/self/task").glob("*/stat"):
        name, _, fields = stat.read_text().partition(" (")[2].rpartition(") ")
        if name == thread_name:
            return int(fields.split()[16])
    return None


def test_files_of_many_short_runs_are_merged(config):
    """Whoever opens the store, learner or scorer, has all of its files open."""
    most = 0
    for _ in range(79):
        store = RocksWriter(config, IDENTITY)
        commit(store, schedule={"kind": "batch"})
        store.close()
        most = max(most, len(files(config, "*.sst")))
    assert most < 80
    store = RocksWriter(config, IDENTITY)
    assert [number for number, _ in store.schedule()] == list(range(1, 80))
    assert [entry.batch_seq for entry in store.journal(0)] == list(range(1, 80))
    store.close()


def test_a_reader_that_is_killed_leaves_nothing_behind(config, tmp_path, monkeypatch):
    filled(config)
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    writer = RocksWriter(config, IDENTITY)
    reader = RocksReader(config.directory)
    assert list(own.iterdir()) == []
    batch = commit(writer)
    reader.catch_up()
    assert reader.head().batch_seq == batch
    reader.close()
    writer.close()
