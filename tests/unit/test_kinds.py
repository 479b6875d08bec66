"""A new kind of row needs one definition: here is one, and it goes all the way."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pipeline import INTERACTIONS, Feed, event, in_directory, slot, small_settings

from serving.replica import Bounds, Replica
from state import kinds
from state.codec import CHANGED_AT, Column, Layout
from state.digest import digest
from state.entries import Entries
from state.kinds import Kind
from state.memory import MemoryStore
from state.rocksdb.reader import RocksReader
from state.rocksdb.writer import RocksWriter
from state.store import Reader, Writer
from state.table import Table
from stream.engine import Engine
from stream.lineage.bases import begin
from stream.lineage.identity import identity
from stream.source import LogIdentity

SHELVES = Kind(
    200,
    lambda sizes: Table(
        Layout(
            200,
            "shelf",
            (Column("level", np.float64, 3), CHANGED_AT),
            (Column("item", np.uint32), Column("copies", np.uint16), Column("price", np.float64)),
            indexed=False,
        ),
        50,
        9,
        dense=True,
    ),
)
"""Shelf number n has three levels, and up to nine entries of three fields."""


@pytest.fixture(autouse=True)
def with_shelves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, SHELVES))


def shelves_of(model_parts: dict[int, object]) -> Table:
    found = model_parts[SHELVES.code]
    assert isinstance(found, Table)
    return found


def fill(engine: Engine, ordinals: list[int], seed: int) -> None:
    """Put something else on some shelves, and a micro-batch that carries it."""
    random = np.random.default_rng(seed)
    table = shelves_of(engine.model.parts)
    numbers = np.array(ordinals, np.int64)
    slots = table.find_ordinals(numbers)
    new = numbers[slots < 0]
    nothing = np.zeros(len(new), np.int64)
    table.add(np.zeros(0, np.uint8), nothing, nothing.astype(np.int32), nothing.astype(np.uint64), new)
    table.columns["level"][numbers] = random.normal(size=(len(numbers), 3))
    table.changed_at[numbers] = engine.store.head().batch_seq + 1
    lengths = random.integers(0, 10, len(numbers)).astype(np.int32)
    table.lists.resize(numbers, lengths)
    table.lists.length[numbers] = lengths
    for shelf in ordinals:
        for field in table.lists.fields.values():
            span = table.lists.span(shelf)
            field[span] = random.integers(0, 1_000, span.stop - span.start).astype(field.dtype)
    table.mark(numbers)
    engine.process(
        [Feed(offset=engine.store.head().offsets.get((INTERACTIONS, 0), 0))(event("a", f"i{seed}"))]
    )


def contents(table: Table) -> dict[int, tuple[object, ...]]:
    """What is on every shelf."""
    return {
        shelf: (
            table.columns["level"][shelf].tolist(),
            int(table.changed_at[shelf]),
            *(field[table.lists.span(shelf)].tolist() for field in table.lists.fields.values()),
        )
        for shelf in table.slots.tolist()
    }


def replica_of(engine: Engine, reader: Reader) -> Replica:
    replica = Replica(reader, engine.settings.scoring, Bounds(3_000, 500, 1 << 20))
    assert replica.load(reader.head())
    return replica


def memory(directory: Path) -> tuple[Writer, Callable[[], Reader]]:
    store = MemoryStore()
    return store, store.reader


def on_disk(directory: Path) -> tuple[Writer, Callable[[], Reader]]:
    settings = in_directory(small_settings(), directory)
    return RocksWriter(settings.state, identity(settings)), lambda: RocksReader(directory)


@pytest.mark.parametrize("open_store", [memory, on_disk])
def test_rows_of_a_new_kind_go_all_the_way(
    open_store: Callable[[Path], tuple[Writer, Callable[[], Reader]]], tmp_path: Path
) -> None:
    """Journal, flush, recovery, digest and scorer, before a flush, after it, and with a journal behind it."""
    settings = in_directory(small_settings(), tmp_path)
    store, open_reader = open_store(tmp_path)
    engine = Engine(settings, store)
    begin(engine, {}, "a run", {}, LogIdentity())
    digests = []
    for turn, shelves in enumerate(([3, 7], [7, 8], [], [0, 3, 49])):
        fill(engine, shelves, turn)
        if turn == 1:
            before = digest(store)
            engine.flush()
            assert digest(store) == before
        expected = contents(shelves_of(engine.model.parts))
        assert set(expected) >= set(shelves)
        recovered = Engine(settings, store)
        assert contents(shelves_of(recovered.model.parts)) == expected
        reader = open_reader()
        replica = replica_of(engine, reader)
        assert contents(shelves_of(replica.model.parts)) == expected
        assert slot(replica.model.items, f"i{turn}") >= 0
        reader.close()
        digests.append(digest(store))
    assert len(set(digests)) == 4


def test_a_change_on_one_shelf_alone_is_another_state() -> None:
    one, other = (Engine(small_settings(), MemoryStore()) for _ in range(2))
    fill(one, [1], 5)
    fill(other, [1], 5)
    assert digest(one.store) == digest(other.store)
    table = shelves_of(other.model.parts)
    table.columns["level"][1, 2] += 1e-9
    table.mark(np.array([1]))
    for engine in (one, other):
        engine.process([Feed(offset=10)(event("a", "i5"))])
    assert digest(one.store) != digest(other.store)


def test_a_kind_that_is_not_served_is_in_no_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = Kind(SHELVES.code, SHELVES.create, served=lambda spec: False)
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS[:-1], hidden))
    engine = Engine(small_settings(), MemoryStore())
    begin(engine, {}, "a run", {}, LogIdentity())
    fill(engine, [1], 5)
    engine.flush()
    fill(engine, [2], 6)
    assert not contents(shelves_of(replica_of(engine, engine.store).model.parts))


def test_lists_of_three_fields_survive_growing_and_moving() -> None:
    lists = Entries((Column("a", np.uint32), Column("b", np.uint16), Column("c", np.float64)), 400, 40)
    random, oracle = np.random.default_rng(3), {}
    for turn in range(300):
        slots = random.permutation(400)[:50].astype(np.int64)
        lengths = random.integers(0, 41, 50).astype(np.int32)
        lists.resize(slots, lengths)
        lists.length[slots] = lengths
        for at in slots.tolist():
            values = [random.integers(0, 60_000, lists.length[at]).tolist() for _ in lists.fields]
            for field, numbers in zip(lists.fields.values(), values, strict=True):
                field[lists.span(at)] = numbers
            oracle[at] = values
        if turn % 20 == 0:
            found = {at: [f[lists.span(at)].tolist() for f in lists.fields.values()] for at in oracle}
            assert found == oracle
    assert len(lists.fields["a"]) < 4 * 400 * 41


@pytest.mark.parametrize(
    "columns", [(Column("a", np.float32),), (Column("a", np.uint32, 2),), (Column("a", np.uint64),)]
)
def test_columns_that_an_arena_cannot_hold_are_refused(columns: tuple[Column, ...]) -> None:
    with pytest.raises(ValueError, match="uint32"):
        Entries(columns, 4, 4)


def test_every_kind_has_codes_of_its_own() -> None:
    codes: list[int] = [code for kind in kinds.KINDS for code in kind.codes]
    assert len(set(codes)) == len(codes)
    assert all(0 < code < 256 for code in codes)
