"""The digest by its definition, and what it is independent of."""

import hashlib

import orjson
import store_checks
from store_checks import commit, flush, row, users
from toy_model import ToyModel

from state.codec import EVENT_IDS, GLOBAL, ITEM, USER, single_rows
from state.digest import digest
from state.memory import MemoryStore


def by_definition(kinds, others, memos, offsets):
    """SHA-256 of length-prefixed fields, as the docstring has it."""
    total = hashlib.sha256()

    def field(data):
        total.update(len(data).to_bytes(8, "little") + data)

    for kind, rows in kinds.items():
        field(b"kind %d: %d" % (kind, len(rows)))
        for name, value in sorted(rows.items()):
            field(name)
            total.update(hashlib.sha256(value).digest())
    for kind, rows in others.items():
        for ordinal, value in sorted(rows.items()):
            field(b"kind %d: %d" % (kind, ordinal))
            field(value)
    for memo in memos:
        field(memo)
    field(orjson.dumps(offsets))
    return total.hexdigest()


def test_it_is_what_its_definition_says():
    store = MemoryStore()
    commit(store, users(u0=b"old", u1=b"b"), single_rows(GLOBAL, {3: b"g", 0: b"h"}))
    flush(store, users(u0=b"old", u1=b"b"), single_rows(GLOBAL, {3: b"g", 0: b"h"}), first_new={USER: 0})
    commit(
        store,
        users(u0=b"new"),
        single_rows(ITEM, {0: row(b"film", b"f")}),
        single_rows(EVENT_IDS, {9: b"ring"}),
        offsets={store_checks.P1: 4, store_checks.P0: 3},
        memo={"prequential": b"{}", "fingerprint": b"x"},
    )
    kinds = {
        USER: {b"u0": row(b"u0", b"new"), b"u1": row(b"u1", b"b")},
        ITEM: {b"film": row(b"film", b"f")},
    }
    others = {GLOBAL: {0: b"h", 3: b"g"}, EVENT_IDS: {9: b"ring"}}
    offsets = [["interactions", 0, 3], ["interactions", 1, 4]]
    assert digest(store) == by_definition(kinds, others, [b"{}", b""], offsets)


def test_ordinals_do_not_matter_ids_do():
    """Two stores that met the same users in another order hold the same rows."""
    one, other, third = MemoryStore(), MemoryStore(), MemoryStore()
    commit(one, single_rows(USER, {0: row(b"a", b"1"), 1: row(b"b", b"2")}))
    commit(other, single_rows(USER, {0: row(b"b", b"2"), 1: row(b"a", b"1")}))
    commit(third, single_rows(USER, {0: row(b"a", b"2"), 1: row(b"b", b"1")}))
    assert digest(one) == digest(other) != digest(third)


def test_every_number_of_a_model_counts():
    found = set()
    for seed in (1, 1, 2):
        toy, store = ToyModel(seed), MemoryStore()
        toy.commit(store, users=["u0"], items=["i0", "i1"])
        found.add(digest(store))
    assert len(found) == 2
