"""Lists of neighbours as rows: round trips, steps that are taken once, and damage that is named."""

import numpy as np
import pytest

from state.codec import NEIGHBOURS
from state.errors import StoreCorruptError
from state.neighbour_rows import HEADER_BYTES, NeighbourRows, pack_steps
from state.neighbours import SLOTS, add
from state.store import Rows

ITEMS = 30


def steps(count, seed):
    """Random steps, some of which take back, as columns."""
    random = np.random.default_rng(seed)
    owners, others = random.integers(ITEMS, size=(2, count))
    forward = random.choice([20, 12, 0, -12], count)
    backward = np.where(forward == 0, random.choice([8, -8], count), 0)
    return owners, others.astype(np.uint32), forward.astype(np.int8), backward.astype(np.int8)


def learnt(batches=5):
    """Lists after some micro-batches, and their steps as rows."""
    rows, taken = NeighbourRows(ITEMS), []
    for batch_seq in range(1, batches + 1):
        columns = steps(200, batch_seq)
        for step in zip(*columns, strict=True):
            add(rows.lists, *map(int, step))
        taken.append(pack_steps(*columns))
        rows.changed_at[taken[-1].ordinals] = batch_seq
    return rows, taken


def same(one, other):
    return one.changed_since(0).data.tobytes() == other.changed_since(0).data.tobytes()


def test_stored_lists_come_back_as_they_were():
    rows, _ = learnt()
    copy = NeighbourRows(ITEMS)
    copy.apply(rows.changed_since(0))
    assert same(copy, rows)
    assert rows.lists.length.max() > 5
    assert len(rows.changed_since(5)) == 0


def test_the_steps_of_a_journal_give_the_lists_that_took_them():
    rows, taken = learnt()
    copy = NeighbourRows(ITEMS)
    for batch_seq, block in enumerate(taken, 1):
        copy.apply_steps(block, batch_seq)
    assert same(copy, rows)


def test_steps_that_a_list_has_taken_are_passed_over():
    """A flush may have brought some lists further than the journal stands."""
    rows, taken = learnt()
    copy = NeighbourRows(ITEMS)
    copy.apply(rows.pack(np.arange(0, ITEMS, 2)))
    for _ in range(2):
        for batch_seq, block in enumerate(taken, 1):
            copy.apply_steps(block, batch_seq)
    assert same(copy, rows)


def test_full_lists_fit_a_row():
    rows = NeighbourRows(SLOTS + 1)
    for other in range(1, SLOTS + 1):
        add(rows.lists, 0, other, other % 100 + 1, 1)
    copy = NeighbourRows(SLOTS + 1)
    copy.apply(rows.pack(np.array([0])))
    assert copy.lists.length[0] == SLOTS
    assert same(copy, rows)


@pytest.mark.parametrize("damage", ["short", "long", "length", "format", "ordinal"])
def test_a_damaged_row_is_named(damage):
    rows, _ = learnt()
    block = rows.pack(np.array([3]))
    data, ordinals = block.data.copy(), block.ordinals
    if damage == "short":
        data = data[: HEADER_BYTES - 1]
    elif damage == "long":
        data = np.append(data, np.uint8(0))
    elif damage == "length":
        data[9] += 1
    elif damage == "format":
        data[0] = 99
    else:
        ordinals = np.array([ITEMS])
    with pytest.raises(StoreCorruptError, match=f"neighbours of item {ordinals[0]}"):
        NeighbourRows(ITEMS).apply(Rows(NEIGHBOURS, ordinals, np.array([0, len(data)]), data))


def test_steps_to_items_that_cannot_be_are_named():
    columns = steps(5, 1)
    columns[1][2] = ITEMS
    with pytest.raises(StoreCorruptError, match="neighbours of micro-batch 7"):
        NeighbourRows(ITEMS).apply_steps(pack_steps(*columns), 7)
