"""A learner that dies while it goes back to a version has gone back, or begins again; never half."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from crash_history import BATCHES, batches, open_engine
from crash_process import said_by
from crash_rollback import ALGORITHM, ASKED_AFTER, POINTS, VERSION, carry_out

from protos.events_pb2 import CommandResult
from state.digest import digest
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader
from state.rocksdb.versions import Versions
from state.store import Reader, VersionId


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the learners that died have left their stores."""
    folder = tmp_path_factory.mktemp("died")
    said = said_by("crash_rollback.py", str(folder))
    results = [line for line in said if line.split()[0] in ("asked", *POINTS)]
    assert results == ["asked 0", *(f"{point} -9" for point in POINTS)], said
    return folder


@pytest.fixture(scope="module")
def undisturbed(died: Path) -> tuple[str, str]:
    """The digests after the rollback and at the end, where nothing dies."""
    directory = died / "undisturbed"
    shutil.copytree(died / "asked", directory)
    carry_out(directory)
    return _learn_the_rest(directory)


def _learn_the_rest(directory: Path) -> tuple[str, str]:
    """The digests before and after."""
    engine = open_engine(directory, ALGORITHM)
    with closing(engine.store):
        before = digest(engine.store)
        for records in list(batches())[ASKED_AFTER:BATCHES]:
            engine.process([records])
        return before, digest(engine.store)


def _answers(reader: Reader) -> list[CommandResult]:
    return [
        CommandResult.FromString(record.value or b"")
        for _, record in reader.outbox()
        if dict(record.headers).get("ce-type") == b"livefactor.v1.CommandResult"
    ]


@pytest.mark.parametrize("point", POINTS)
def test_a_rollback_happens_whole(died: Path, undisturbed: tuple[str, str], point: str) -> None:
    directory = died / point
    switched = point == "rollback_after_switch"
    with closing(RocksReader(directory)) as reader, closing(RocksReader(died / "asked")) as asked:
        assert reader.head().generation == 1 + switched
        assert switched or digest(reader) == digest(asked), "nothing has changed"
        assert len(_answers(reader)) == switched
    carry_out(directory)
    assert _learn_the_rest(directory) == undisturbed
    with closing(RocksReader(directory)) as reader:
        assert reader.head().generation == 2
        [answer] = _answers(reader)
        assert answer.applied, answer
    found = {path.name for path in directory.iterdir()}
    assert found - {"staging"} == {"generation", "generation-000002", "learner.lock", "versions"}
    versions = Versions(Directory(directory))
    assert [version.id for version in versions.all()] == [VERSION, VersionId(1, ASKED_AFTER + 1)]
    for version in versions.all():
        versions.check(version)
