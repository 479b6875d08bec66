"""The compiled maps against dictionaries, in tables so small that everything collides."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state import maps
from state.kernels import hash_bytes, hash_spans, spans

SLOTS = 40
SIZE = 64


class IdMap:
    """`find_ids`, `insert_ids` and `delete_ids` as a dictionary from ids to slots."""

    def __init__(self, homes: int | None):
        self.homes = homes
        self.tags, self.table = np.zeros(SIZE, np.uint32), np.full(SIZE, maps.EMPTY, np.int32)
        self.hashes = np.zeros(SLOTS, np.uint64)
        self.start, self.length = np.zeros(SLOTS, np.int64), np.zeros(SLOTS, np.int32)
        self.arena = np.zeros(300 * SLOTS, np.uint8)

    def hash(self, ids):
        buffer, start, length, hashes = spans(ids)
        if self.homes:
            hashes = hashes % np.uint64(self.homes) + np.uint64(SIZE - self.homes // 2)
        return buffer, start, length, hashes

    def insert(self, slot, name):
        buffer, _, _, hashes = self.hash([name])
        self.start[slot], self.length[slot], self.hashes[slot] = 300 * slot, len(name), hashes[0]
        self.arena[300 * slot : 300 * slot + len(name)] = buffer
        maps.insert_ids(np.array([slot]), self.hashes, self.tags, self.table)

    def delete(self, slots):
        maps.delete_ids(np.array(slots, np.int64), self.hashes, self.tags, self.table)

    def find(self, ids):
        buffer, start, length, hashes = self.hash(ids)
        out = np.empty(len(ids), np.int64)
        maps.find_ids(
            buffer, start, length, hashes, self.tags, self.table, self.start, self.length, self.arena, out
        )
        return out.tolist()


IDS = (
    [b"%d" % i for i in range(30)] + [b"1" * n for n in (2, 8, 16, 255, 256)] + [b"\0", b"\0\0", b"\xff" * 9]
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([None, 1, 4, 20]),
    st.lists(st.tuples(st.booleans(), st.integers(0, len(IDS) - 1)), max_size=120),
)
def test_ids_are_found_as_in_a_dictionary(homes, actions):
    """Also when all hashes fall on few places, at the end of the table, so that probing wraps around."""
    found, oracle, free = IdMap(homes), {}, list(range(SLOTS))
    for inserting, which in actions:
        name = IDS[which]
        if inserting and name not in oracle:
            oracle[name] = free.pop()
            found.insert(oracle[name], name)
        elif not inserting and name in oracle:
            slot = oracle.pop(name)
            found.delete([slot])
            free.append(slot)
        assert found.find(IDS) == [oracle.get(name, maps.EMPTY) for name in IDS]
    found.delete(list(oracle.values()))
    assert (found.table == maps.EMPTY).all()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50) | st.integers(0, 2**32 - 1)), max_size=100))
def test_ordinals_are_found_as_in_a_dictionary(actions):
    table, row_ordinal = np.full(SIZE, maps.EMPTY, np.int32), np.zeros(SLOTS, np.uint32)
    oracle, free = {}, list(range(SLOTS))
    seen = sorted({ordinal for _, ordinal in actions} | {0, 2**32 - 1})
    for inserting, ordinal in actions:
        if inserting and ordinal not in oracle and free:
            slot = oracle[ordinal] = free.pop()
            row_ordinal[slot] = ordinal
            maps.insert_ordinals(np.array([slot]), row_ordinal, table)
        elif not inserting and ordinal in oracle:
            slot = oracle.pop(ordinal)
            maps.delete_ordinals(np.array([slot]), row_ordinal, table)
            free.append(slot)
        out = np.empty(len(seen), np.int64)
        maps.find_ordinals(np.array(seen, np.int64), row_ordinal, table, out)
        assert out.tolist() == [oracle.get(ordinal, maps.EMPTY) for ordinal in seen]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(IDS), st.booleans()), max_size=60))
def test_distinct_ids_are_named_by_their_first_place(events):
    ids, wanted = [name for name, _ in events], np.array([flag for _, flag in events], np.bool_)
    buffer, start, length, hashes = spans(ids)
    first = np.empty(len(ids), np.int64)
    count = maps.distinct_spans(buffer, start, length, hashes, wanted, first)
    places: dict[bytes, int] = {}
    expected = [places.setdefault(name, i) if wanted[i] else -1 for i, name in enumerate(ids)]
    assert first.tolist() == expected
    assert count == len(places)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=10))
def test_hashes_depend_on_the_bytes_and_not_on_where_they_lie(ids):
    buffer, start, length, hashes = spans(ids)
    for i, name in enumerate(ids):
        alone = np.frombuffer(b"junk" + name + b"junk", np.uint8)
        assert hash_bytes(alone, 4, len(name)) == hashes[i]
    np.testing.assert_array_equal(hash_spans(buffer, start, length), hashes)
    assert len({int(h) for h in hashes}) == len(set(ids))
