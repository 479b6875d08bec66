"""A store that an earlier program wrote, `tests/data/store.tar.xz`: five batches of 40 events, a version."""

import tarfile
from pathlib import Path

import pytest
from pipeline import Feed, event, in_directory, small_settings

from serving.refresh import Follower
from serving.replica import Bounds
from state.digest import digest
from state.errors import StoreMissingError
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader
from state.rocksdb.versions import Versions
from state.rocksdb.writer import RocksWriter
from state.store import VersionId
from stream.engine import Engine
from stream.lineage.bases import begin
from stream.lineage.identity import identity

STORE = Path(__file__).parents[1] / "data" / "store.tar.xz"
DIGEST = "3fa7eacb1521b6160279f60feac5e4ab86e759bc990cbf3fdb9771cbf61d2c0a"
"""As the program that wrote it printed it."""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    with tarfile.open(STORE) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path


def test_it_is_read_as_it_was(older: Path) -> None:
    reader = RocksReader(older)
    assert digest(reader) == DIGEST
    assert (reader.head().batch_seq, reader.head().version) == (6, VersionId(1, 3))
    reader.close()
    [version] = Versions(Directory(older)).all()
    assert (version.id, version.parent, version.reason) == ((1, 3), (1, 0), "schedule")
    Versions(Directory(older)).check(version)


def test_a_learner_goes_on_with_it_and_scorers_wait_until_it_does(older: Path) -> None:
    settings = in_directory(small_settings(), older)
    follower = Follower(lambda: RocksReader(older), lambda: 1, Bounds(3_000, 500, 1 << 20))
    with pytest.raises(StoreMissingError, match="livefactor learn"):
        follower.refresh()
    writer = RocksWriter(settings.state, identity(settings))
    engine = Engine(settings, writer)
    assert digest(writer) == DIGEST
    clock = engine.model.clock
    begin(engine, {}, "another program", {})
    assert writer.head().version == VersionId(1, 6), "what it was is kept"
    engine.process([Feed(offset=1_000)(event("u1", "another item"))])
    assert engine.model.clock == clock + 1 == 175
    follower.refresh()
    assert follower.replica is not None
    assert len(follower.replica.catalogue) == engine.model.item_count
    follower.close()
    writer.close()
