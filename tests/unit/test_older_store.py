"""A store that an earlier program wrote, `tests/data/store.tar.xz`: five batches of 40 events, a version."""

import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from pipeline import Feed, event, in_directory, small_settings
from streams import random_likes

from livefactor.commands.state import upgrade
from livefactor.settings import load
from serving.refresh import Follower
from serving.replica import Bounds
from state.codec import GLOBAL, single_rows
from state.digest import digest
from state.errors import FormatMismatchError, StoreMissingError
from state.global_arrays import WEIGHTS, global_arrays
from state.model import Model
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader
from state.rocksdb.upgrade import old_weights
from state.rocksdb.versions import Versions
from state.rocksdb.writer import RocksWriter
from state.scoring.blend import first_weights
from state.store import Commit, VersionId
from stream.config import LearnerSettings
from stream.engine import Engine
from stream.lineage.bases import begin
from stream.lineage.identity import identity
from stream.lineage.upgrade import begin_weights_anew
from stream.source import LogIdentity

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
    begin(engine, {}, "another program", {}, LogIdentity())
    assert writer.head().version == VersionId(1, 6), "what it was is kept"
    engine.process([Feed(offset=1_000)(event("u1", "another item"))])
    assert engine.model.clock == clock + 1 == 175
    follower.refresh()
    assert follower.replica is not None
    assert len(follower.replica.catalogue) == engine.model.item_count
    follower.close()
    writer.close()


def with_weights_of_another_length(settings: LearnerSettings) -> tuple[Model, int]:
    """Make a store of 60 likes, whose global arrays are those of a score with three features.

    They are in the row family, and in the journal after it. Returns model and next offset.
    """
    names = list(global_arrays(rank=1))
    old = {names.index(name): np.ones(3 if "weights" in name else 9).tobytes() for name in WEIGHTS}
    writer, feed = RocksWriter(settings.state, identity(settings)), Feed()
    engine = Engine(settings, writer)
    begin(engine, {}, "an earlier program", {}, LogIdentity())
    for row in random_likes(60, 5, 12):
        engine.process([feed(event(row["user_id"], row["item_id"]))])
    arrays = {ordinal: array.tobytes() for ordinal, array in enumerate(engine.model.globals.values())}
    flushed = [
        single_rows(GLOBAL, {**arrays, **old}) if rows.kind == GLOBAL else rows
        for rows in engine.model.changed_since(0)
    ]
    flush = writer.begin_flush(flushed, dict.fromkeys(engine.model.next_ordinals, 0), writer.head().batch_seq)
    while not flush.advance(1_000):
        pass
    writer.commit(Commit(writer.head().batch_seq + 1, (single_rows(GLOBAL, old),)))
    writer.close()
    return engine.model, feed.offset


def test_weights_of_another_length_are_begun_anew_by_upgrade_alone(tmp_path: Path) -> None:
    settings = in_directory(small_settings(), tmp_path)
    model, offset = with_weights_of_another_length(settings)
    with closing(RocksReader(tmp_path)) as reader:
        assert old_weights(reader) == {list(model.globals).index(name) for name in WEIGHTS}
    follower = Follower(lambda: RocksReader(tmp_path), lambda: 1, Bounds(3_000, 500, 1 << 20))
    with closing(follower), pytest.raises(FormatMismatchError, match="livefactor state upgrade"):
        follower.refresh()
    with (
        closing(RocksWriter(settings.state, identity(settings))) as writer,
        pytest.raises(FormatMismatchError, match=r"weights, curvature.*livefactor state upgrade"),
    ):
        Engine(settings, writer)
    begin_weights_anew(settings)
    with closing(RocksReader(tmp_path)) as reader:
        assert not old_weights(reader)
    with closing(RocksWriter(settings.state, identity(settings))) as writer:
        engine = Engine(settings, writer)
        for name, first in global_arrays(settings.learning.rank).items():
            kept = first if name in WEIGHTS else model.globals[name]
            assert np.array_equal(engine.model.globals[name], kept), name
        assert np.array_equal(engine.model.items.vectors, model.items.vectors)
        begin(engine, {}, "this program", {}, LogIdentity())
        for n in range(30):
            engine.process([Feed(offset=offset + n)(event("u2", f"i{n % 12}"))])
        assert not np.array_equal(engine.model.globals["weights"], first_weights())


def test_upgrade_says_what_it_did_and_then_that_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [f"state.directory={tmp_path}", "state.rows_max=200000", "state.items_max=500"]
    with_weights_of_another_length(load(None, {}, overrides))
    for said in ("its weights begin anew", "nothing to do"):
        upgrade(as_json=False, config=None, overrides=overrides)
        assert said in capsys.readouterr().out
