"""Both stores keep the contract of `state.store`."""

from collections.abc import Iterator

import pytest
import store_checks

from state.config import StateConfig
from state.memory import MemoryStore
from state.rocksdb.reader import RocksReader
from state.rocksdb.writer import RocksWriter

IDENTITY = {"model": "default", "rank": 4}


@pytest.fixture
def memory() -> store_checks.Ground:
    """A store in memory; what a new process finds is the same object."""
    store = MemoryStore(IDENTITY)
    return store_checks.Ground(store, store.reader, lambda: store)


@pytest.fixture
def rocksdb(tmp_path) -> Iterator[store_checks.Ground]:
    """A store in RocksDB, with secondaries as views."""
    config = StateConfig(directory=tmp_path / "state", sync="never")
    opened = []

    def open_store():
        opened.append(RocksWriter(config, IDENTITY))
        return opened[-1]

    def open_reader():
        opened.append(RocksReader(config.directory))
        return opened[-1]

    def reopen():
        close_all()
        return open_store()

    def close_all():
        while opened:
            part = opened.pop()
            if hasattr(part, "_journal"):
                part.close()

    yield store_checks.Ground(open_store(), open_reader, reopen)
    close_all()


@pytest.mark.parametrize("ground", ["memory", "rocksdb"])
@pytest.mark.parametrize("check", store_checks.CHECKS, ids=lambda check: check.__name__)
def test_store(check, ground, request):
    check(request.getfixturevalue(ground))
