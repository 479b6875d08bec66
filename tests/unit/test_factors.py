"""Resident rows against plain dictionaries and lists."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.entries import block_sizes
from state.errors import RowsExhaustedError, StoreCorruptError
from state.factors import FactorTable, Items, Users
from state.kernels import spans
from state.store import Rows

RANK = 3


def table(capacity: int = 200, history_max: int = 10, dense: bool = False) -> FactorTable:
    return (Items if dense else Users)(RANK, capacity, history_max)


def add(rows: FactorTable, names: list[bytes], first_ordinal: int) -> np.ndarray:
    return rows.add(*spans(names), np.arange(first_ordinal, first_ordinal + len(names), dtype=np.int64))


def plain(packed: Rows) -> dict[int, bytes]:
    return {ordinal: packed.row(i) for i, ordinal in enumerate(packed.ordinals.tolist())}


def histories(rows: FactorTable) -> dict[bytes, list[tuple[int, float]]]:
    slots = rows.slots
    found = [rows.history(slot) for slot in slots.tolist()]
    return {
        name: list(zip(others.tolist(), strengths.tolist(), strict=True))
        for name, (others, strengths) in zip(rows.ids(slots), found, strict=True)
    }


@settings(deadline=None)
@given(st.integers(1, 1_000))
def test_block_sizes_end_at_a_full_history_and_waste_little(history_max):
    sizes = block_sizes(history_max).tolist()
    assert sizes == sorted(set(sizes))
    assert all(size % 4 == 0 for size in sizes)
    assert history_max <= sizes[-1] < history_max + 4
    assert all(following <= max(size + 4, size * 1.5) for size, following in pairwise(sizes))


class Oracle:
    """What a table should hold: dictionaries and lists."""

    def __init__(self, history_max: int):
        self.history_max = history_max
        self.histories: dict[bytes, list[tuple[int, float]]] = {}
        self.ordinals: dict[bytes, int] = {}
        self.packed: dict[int, bytes] = {}
        self.asleep: dict[bytes, list[tuple[int, float]]] = {}

    def append(self, name: bytes, other: int, strength: float) -> None:
        history = self.histories[name]
        history.append((other, strength))
        del history[: -self.history_max]

    def remove(self, name: bytes, other: int) -> float:
        history = self.histories[name]
        for i in reversed(range(len(history))):
            if history[i][0] == other:
                return history.pop(i)[1]
        return float("nan")


@pytest.mark.parametrize("history_max", [1, 3, 10, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_rows_come_grow_and_go_as_in_dictionaries(history_max, seed):
    random = np.random.default_rng(seed)
    rows, oracle = table(history_max=history_max), Oracle(history_max)
    for _ in range(400):
        present = sorted(oracle.histories)
        action = random.choice(["add", "append", "append", "append", "remove", "evict", "load"])
        if action == "add" and rows.size < rows.capacity:
            count = int(random.integers(1, min(20, rows.capacity - rows.size) + 1))
            first = len(oracle.ordinals)
            names = [
                b"%d" % o + bytes(random.integers(0, 256, random.integers(0, 250)))
                for o in range(first, first + count)
            ]
            slots = add(rows, names, first)
            assert not rows.vectors[slots].any()
            assert not rows.interactions[slots].any()
            rows.vectors[slots] = random.normal(size=(count, RANK))
            oracle.histories.update({name: [] for name in names})
            oracle.ordinals.update({name: first + i for i, name in enumerate(names)})
        elif action == "append" and present:
            chosen = [present[i] for i in random.integers(0, len(present), 30)]
            others, strengths = random.integers(0, 20, 30), random.normal(size=30).astype(np.float32)
            rows.append(rows.find_ids(chosen), others, strengths)
            for name, other, strength in zip(chosen, others.tolist(), strengths.tolist(), strict=True):
                oracle.append(name, other, strength)
        elif action == "remove" and present:
            name, other = present[random.integers(len(present))], int(random.integers(0, 20))
            found = rows.remove(int(rows.find_ids([name])[0]), other)
            np.testing.assert_equal(found, oracle.remove(name, other))
        elif action == "evict" and present:
            chosen = [name for name in present if random.random() < 0.3]
            slots = rows.find_ids(chosen)
            oracle.packed.update(plain(rows.pack(slots)))
            rows.evict(slots)
            for name in chosen:
                oracle.asleep[name] = oracle.histories.pop(name)
        elif action == "load":
            absent = [name for name in oracle.ordinals if name not in oracle.histories]
            chosen = [name for name in absent if random.random() < 0.5][: rows.capacity - rows.size]
            load(rows, oracle, chosen)
        check(rows, oracle)


def load(rows: FactorTable, oracle: Oracle, names: list[bytes]) -> None:
    ordinals = sorted(oracle.ordinals[name] for name in names)
    values = [oracle.packed[ordinal] for ordinal in ordinals]
    bounds = np.cumsum([0, *map(len, values)])
    block = Rows(
        rows.layout.code, np.array(ordinals, np.int64), bounds, np.frombuffer(b"".join(values), np.uint8)
    )
    slots = rows.apply(block)
    assert rows.ordinals[slots].tolist() == ordinals
    assert plain(rows.pack(slots)) == dict(zip(ordinals, values, strict=True))
    for name in names:
        oracle.histories[name] = oracle.asleep.pop(name)


def check(rows: FactorTable, oracle: Oracle) -> None:
    assert rows.size == len(rows.slots) == len(oracle.histories)
    assert histories(rows) == oracle.histories
    names = list(oracle.ordinals)
    slots = rows.find_ids(names)
    assert (slots >= 0).tolist() == [name in oracle.histories for name in names]
    ordinals = np.array([oracle.ordinals[name] for name in names], np.int64)
    np.testing.assert_array_equal(rows.find_ordinals(ordinals), slots)
    if len(rows.slots):
        bounds, others, strengths = rows.histories(rows.slots)
        joined = [pair for name in rows.ids(rows.slots) for pair in oracle.histories[name]]
        assert list(zip(others.tolist(), strengths.tolist(), strict=True)) == joined
        assert bounds[-1] == len(joined)


def test_ids_survive_the_arena_being_packed():
    """Slots that were vacated and taken again must not drag their old ids along."""
    rows = table(capacity=400)
    oracle: dict[bytes, int] = {}
    random = np.random.default_rng(3)
    for turn in range(40):
        if rows.size > 200:
            gone = random.permutation(rows.slots)[:190]
            for name in rows.ids(gone):
                del oracle[name]
            rows.evict(gone)
        first = turn * 100
        names = [b"%06d" % o + b"x" * int(random.integers(0, 250)) for o in range(first, first + 100)]
        oracle.update(zip(names, add(rows, names, first).tolist(), strict=True))
        assert rows.find_ids(list(oracle)).tolist() == list(oracle.values())
        assert rows.ids(np.array(list(oracle.values()))) == list(oracle)


def test_many_long_histories_can_be_restored_at_once():
    """Blocks are larger than the histories in them: the arena must have room for the blocks."""
    origin = table(capacity=2_000, history_max=100)
    slots = add(origin, [b"u%d" % i for i in range(2_000)], 0)
    for length, part in ((77, slots[:1_000]), (17, slots[1_000:])):
        for i in range(length):
            origin.append(part, np.full(len(part), i), np.full(len(part), i, np.float32))
    for first in range(0, 2_000, 100):
        restored = table(capacity=2_000, history_max=100)
        packed = origin.pack(slots[first : first + 100])
        restored.apply(packed)
        assert int(restored.lists.top[0]) <= len(restored.lists.fields["other"])
        assert plain(restored.pack(restored.slots)) == plain(packed)


def test_a_full_table_refuses_rows_and_stays_as_it_was():
    rows = table(capacity=5)
    add(rows, [b"a", b"b", b"c"], 0)
    with pytest.raises(RowsExhaustedError, match=r"state\.rows_max"):
        add(rows, [b"d", b"e", b"f"], 3)
    assert rows.size == 3
    add(rows, [b"d", b"e"], 3)
    assert rows.find_ids([b"a", b"d", b"e", b"f"]).tolist() == [0, 3, 4, -1]


def test_items_stay_where_their_ordinal_is():
    rows = table(capacity=5, dense=True)
    add(rows, [b"a", b"b"], 0)
    assert add(rows, [b"c"], 2).tolist() == [2]
    assert rows.find_ordinals(np.array([2, 0, 3, 4, 5, 99])).tolist() == [2, 0, -1, -1, -1, -1]
    with pytest.raises(RowsExhaustedError, match=r"state\.items_max"):
        add(rows, [b"d", b"e", b"f"], 3)


def test_restoring_over_a_resident_row_replaces_its_history():
    rows = table()
    slots = add(rows, [b"a", b"b"], 0)
    rows.append(slots[[0, 0, 0, 0, 0, 1]], np.array([1, 2, 3, 4, 5, 6]), np.ones(6, np.float32))
    packed = rows.pack(slots)
    rows.append(slots[[0, 1, 1]], np.array([7, 8, 9]), np.ones(3, np.float32))
    rows.remove(int(slots[0]), 2)
    rows.apply(packed)
    assert histories(rows) == {b"a": [(i, 1.0) for i in (1, 2, 3, 4, 5)], b"b": [(6, 1.0)]}


@pytest.mark.parametrize("damage", ["history too long", "cut short", "other format", "other rank"])
def test_damaged_rows_are_named(damage):
    origin = table(history_max=100)
    slots = add(origin, [b"a"], 0)
    origin.append(np.repeat(slots, 50), np.arange(50), np.ones(50, np.float32))
    packed = origin.pack(slots)
    target = table(history_max=100)
    if damage == "history too long":
        target = table(history_max=10)
    elif damage == "other rank":
        target = Users(RANK + 1, 200, 100)
    elif damage == "cut short":
        packed = Rows(packed.kind, packed.ordinals, packed.bounds - np.array([0, 1]), packed.data[:-1])
    else:
        packed.data[0] = 99
    with pytest.raises(StoreCorruptError, match="user row 0"):
        target.apply(packed)
    assert target.size == 0


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=256),
        st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=10),
        max_size=12,
    ),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_rows_are_packed_and_unpacked_bit_for_bit(content, bits, dense):
    """Ids of 1 to 256 bytes, histories of any length, and floats of any bits, NaN payloads included."""
    origin, copy = table(dense=dense), table(dense=dense)
    slots = add(origin, list(content), 0)
    numbers = np.random.default_rng(bits)
    for column in origin.columns.values():
        raw = column.view(np.uint8)
        raw[slots] = numbers.integers(0, 256, (len(slots), raw.shape[1]))
    origin.vectors.view(np.uint32)[slots, 0] = bits
    for slot, history in zip(slots.tolist(), content.values(), strict=True):
        others = np.array([other for other, _ in history], np.int64)
        strengths = np.array([strength for _, strength in history], np.uint32).view(np.float32)
        origin.append(np.full(len(history), slot), others, strengths)
    packed = origin.pack(slots[::-1].copy())
    assert packed.ordinals.tolist() == list(range(len(content)))
    found = copy.apply(packed)
    assert copy.ids(found) == list(content)
    assert plain(copy.pack(found)) == plain(packed)
    for name, column in origin.columns.items():
        np.testing.assert_array_equal(column[slots].view(np.uint8), copy.columns[name][found].view(np.uint8))
    for slot, target in zip(slots.tolist(), found.tolist(), strict=True):
        for mine, theirs in zip(origin.history(slot), copy.history(target), strict=True):
            np.testing.assert_array_equal(mine.view(np.uint32), theirs.view(np.uint32))
