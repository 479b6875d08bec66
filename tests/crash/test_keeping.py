"""A learner that dies while it keeps a version has it whole or not at all, and goes on."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from crash_history import BATCHES, batches, open_engine
from crash_keeping import ALGORITHM, HITS, POINTS, VERSIONS_KEPT, learn
from crash_process import said_by

from state.digest import digest
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader
from state.rocksdb.versions import Versions


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the learners that died have left their stores."""
    folder = tmp_path_factory.mktemp("died")
    said = said_by("crash_keeping.py", str(folder))
    assert said == [f"{point} {hit} -9" for point in POINTS for hit in HITS]
    return folder


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What the state is after each micro-batch."""
    engine = open_engine(tmp_path_factory.mktemp("undisturbed"), ALGORITHM)
    with closing(engine.store):
        found = [digest(engine.store)]
        for records in batches():
            engine.process([records])
            found.append(digest(engine.store))
        yield found


@pytest.mark.parametrize("hit", HITS)
@pytest.mark.parametrize("point", POINTS)
def test_a_version_is_whole_or_is_none(died: Path, digests: list[str], point: str, hit: int) -> None:
    directory = died / f"{point}-{hit}"
    before = _checked(directory, digests)
    assert len(before) <= VERSIONS_KEPT + 1
    engine = open_engine(directory, ALGORITHM)
    with closing(engine.store):
        assert digest(engine.store) == digests[engine.store.head().batch_seq]
        folders = [path.name for path in (directory / "versions").glob("*")]
        assert sorted(folders) == sorted(f"g1.{batch_seq}" for batch_seq in before), (
            "nothing else is left once a learner has started"
        )
        learn(engine)
        assert digest(engine.store) == digests[BATCHES]
        assert engine.store.head().version.batch_seq == max(_checked(directory, digests))


def _checked(directory: Path, digests: list[str]) -> list[int]:
    """Micro-batches of the versions, each of which is the state that there was then."""
    versions = Versions(Directory(directory))
    assert versions.unreadable() == []
    for version in versions.all():
        versions.check(version)
        with closing(RocksReader(directory, versions.database(version))) as reader:
            assert digest(reader) == digests[version.id.batch_seq]
    return [version.id.batch_seq for version in versions.all()]
