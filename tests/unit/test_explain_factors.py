"""What the dimensions of item factors stand for, from a store that has both rows and a journal."""

import numpy as np
import pytest
from pipeline import Feed, event, in_directory, small_settings

from livefactor.factors import TopItem, explain, read_items
from state.memory import MemoryStore
from state.rocksdb.writer import RocksWriter
from stream.engine import Engine
from stream.lineage.identity import identity


def test_each_dimension_names_the_items_that_have_most_of_it():
    vectors = np.array([[1, 0, -3], [3, 0.5, 0], [2, 0, 0], [3, 0, -1]], np.float32)
    first, second, third = explain(["a", "b", "c", "d"], vectors, top=3)
    assert (first.dimension, second.dimension, third.dimension) == (0, 2, 1)
    assert first.items == (TopItem("b", 3.0), TopItem("d", 3.0), TopItem("c", 2.0))
    assert second.items == ()
    assert third.items == (TopItem("b", 0.5),)
    assert [first.share, second.share, third.share] == pytest.approx([23 / 33.25, 10 / 33.25, 0.25 / 33.25])


def test_without_items_there_is_nothing_to_name():
    assert read_items(MemoryStore(), 2, 12)[0] == []
    assert explain([], np.zeros((0, 2), np.float32), 5)[0].items == ()


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "rocks"])
def test_items_are_read_as_they_are_now(tmp_path, stored):
    """One from the row family, one from the journal, one that the journal has changed since."""
    settings = in_directory(small_settings(learning={"nonneg": True}), tmp_path)
    store = RocksWriter(settings.state, identity(settings)) if stored else MemoryStore()
    engine, feed = Engine(settings, store), Feed()
    engine.process([feed(event("u", "old"), event("u", "changed"), event("v", "old"))])
    engine.flush()
    engine.process([feed(event("u", "new"), event("w", "changed"))])
    item_ids, vectors = read_items(store, settings.learning.rank, settings.state.history_max)
    assert item_ids == ["old", "changed", "new"]
    assert np.array_equal(vectors, engine.model.items.vectors[:3])
    store.close()
