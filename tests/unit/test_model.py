"""The whole model as rows: what changed, what is restored."""

import numpy as np
from toy_model import BOUNDS, RANK, ToyModel

from state.codec import EVENT_IDS, EVIDENCE, GLOBAL, INPUTS, ITEM, NEIGHBOURS, USER
from state.global_arrays import global_arrays
from state.memory import MemoryStore
from state.model import Model


def restored(blocks) -> Model:
    model = Model(RANK, **BOUNDS, event_ids_kept=0)
    for rows in blocks:
        model.apply(rows)
    return model


def same(one: Model, other: Model) -> bool:
    blocks = [
        [*(table.pack(table.slots) for table in (model.users, model.items)), model.globals.changed_since(0)]
        for model in (one, other)
    ]
    return all(
        a.ordinals.tolist() == b.ordinals.tolist() and a.data.tobytes() == b.data.tobytes()
        for a, b in zip(*blocks, strict=True)
    )


def test_what_changed_since_a_batch_brings_an_older_copy_up_to_date():
    toy, store = ToyModel(), MemoryStore()
    toy.commit(store, users=["a", "b", "c"], items=["x", "y"])
    copy = restored(toy.model.changed_since(0))
    assert same(copy, toy.model)
    toy.commit(store, users=["b", "d"])
    toy.commit(store, items=["y", "z"])
    changed = {rows.kind: rows.ordinals.tolist() for rows in toy.model.changed_since(1)}
    assert changed.pop(NEIGHBOURS) == []
    assert changed.pop(EVENT_IDS) == changed.pop(EVIDENCE) == changed.pop(INPUTS) == []
    assert changed == {USER: [1, 3], ITEM: [1, 2], GLOBAL: list(range(len(toy.model.globals)))}
    for rows in toy.model.changed_since(1):
        copy.apply(rows)
    assert same(copy, toy.model)
    assert (copy.user_count, copy.item_count, copy.clock) == (4, 3, toy.model.clock)


def test_the_journal_alone_restores_the_model():
    toy, store = ToyModel(), MemoryStore()
    for n in range(5):
        toy.commit(store, users=[f"u{n + 1}", "u0"], items=[f"i{n}"])
    assert same(restored(rows for entry in store.journal(0) for rows in entry.rows), toy.model)


def test_global_arrays_keep_their_ordinals():
    """Stored rows are found by this order: a new array goes to the end."""
    assert list(global_arrays(2)) == [
        "counts",
        "clock",
        "mean",
        "gramian_user",
        "gramian_item",
        "recent",
        "recent_state",
        "weights",
        "curvature",
        "newcomer_weights",
        "newcomer_curvature",
        "ratings_seen",
    ]


def test_packing_leaves_out_what_did_not_change():
    toy = ToyModel()
    none = np.zeros(0, np.int64)
    assert toy.model.pack(none, none, ()) == ()
    (rows,) = toy.model.pack(none, none, ("clock",))
    assert (rows.kind, rows.ordinals.tolist()) == (GLOBAL, [1])
