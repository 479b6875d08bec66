"""A version loaded aside is the model as it was, whatever has been learnt since."""

import shutil
from contextlib import closing
from copy import deepcopy

import numpy as np
import pytest
from pipeline import Feed, event, in_directory, small_settings

from state.errors import StoreError
from state.rocksdb.writer import RocksWriter
from state.store import VersionId
from stream.config import DriftConfig
from stream.drift.frozen import frozen_of
from stream.engine import Engine
from stream.lineage.bases import begin, keep_version
from stream.lineage.frozen import FrozenLoader, load_frozen
from stream.lineage.identity import identity
from stream.source import LogIdentity


@pytest.fixture
def kept(tmp_path):
    """(settings, version, the frozen model of that moment)."""
    settings = in_directory(small_settings(), tmp_path)
    with closing(RocksWriter(settings.state, identity(settings))) as store:
        engine, feed = Engine(settings, store), Feed()
        begin(engine, {}, "fingerprint", {}, LogIdentity())
        learn(engine, feed, 0)
        keep_version(engine, "test")
        frozen = frozen_of(engine.model, settings)
        then = deepcopy(frozen)
        learn(engine, feed, 7)
        yield settings, store.head().version, then


def learn(engine, feed, shift):
    for n in range(4):
        pairs = [(f"u{m % 8}", f"i{(3 * m + n + shift) % 11}") for m in range(20)]
        engine.process([feed(*(event(user, item) for user, item in pairs))])


def flat(value):
    return [leaf for part in value for leaf in flat(part)] if isinstance(value, tuple) else [value]


def test_it_is_the_model_of_that_moment(kept):
    settings, version, then = kept
    loaded = load_frozen(settings, version)
    assert len(loaded.interactions) == 11
    for ours, theirs in zip(flat(loaded), flat(then), strict=True):
        assert np.array_equal(ours, theirs)


def test_it_is_loaded_aside_once(kept):
    settings, version, _ = kept
    loader = FrozenLoader(settings)
    assert loader.take() is None
    loader.begin(VersionId(1, 0))
    assert loader.take() is None
    loader.begin(version)
    loader.close()
    found = loader.take()
    assert found is not None
    assert found[0] == version
    assert loader.take() is None


@pytest.mark.parametrize("fault", ["gone", "damaged", "another rank"])
def test_what_cannot_be_used_is_said_and_left_alone(kept, fault, caplog, capsys):
    settings, version, _ = kept
    folder = settings.state.directory / "versions" / str(version)
    if fault == "gone":
        shutil.rmtree(folder)
    elif fault == "damaged":
        for path in (folder / "database").glob("MANIFEST*"):
            path.write_bytes(b"nothing")
    else:
        learning = settings.learning.model_copy(update={"rank": 5})
        settings = settings.model_copy(update={"learning": learning})
    with pytest.raises(StoreError):
        load_frozen(settings, version)
    loader = FrozenLoader(settings)
    loader.begin(version)
    loader.close()
    assert loader.take() is None
    assert loader.failed
    assert "not compared with a version" in capsys.readouterr().out + caplog.text


def test_nothing_is_loaded_where_nothing_is_compared(kept):
    settings, version, _ = kept
    loader = FrozenLoader(settings.model_copy(update={"drift": DriftConfig(enabled=False)}))
    loader.begin(version)
    assert not loader.loading
