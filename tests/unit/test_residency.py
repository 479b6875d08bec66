"""Which users are in memory: those needed stay, the longest untouched go, changed ones never do."""

import numpy as np
import pytest
from toy_model import RANK

from state.errors import RowsExhaustedError
from state.kernels import spans
from state.memory import MemoryStore
from state.model import Model
from state.store import Commit
from stream.residency import EVICTED_SHARE, Residency

CAPACITY = 16


class World:
    """A model with room for 16 users on a store that has them all."""

    def __init__(self):
        self.model = Model(RANK, CAPACITY + 10, 10, 5, 0)
        self.store = MemoryStore()
        self.residency = Residency(self.model, self.store)
        self.batch_seq = 0

    def create(self, *names, flushed=True):
        """Users made by a micro-batch of their own."""
        self.batch_seq += 1
        users = self.model.users
        count = self.model.globals["counts"]
        ids = [name.encode() for name in names]
        slots = users.add(*spans(ids), np.arange(count[0], count[0] + len(ids), dtype=np.int64))
        users.vectors[slots, 0] = count[0] + np.arange(len(ids))
        first, users.changed_at[slots], users.touched_at[slots] = (
            int(count[0]),
            self.batch_seq,
            self.batch_seq,
        )
        count[0] += len(ids)
        self.store.commit(Commit(self.batch_seq, self.model.pack(slots, np.zeros(0, np.int64), ("counts",))))
        if flushed:
            flush = self.store.begin_flush([users.pack(slots)], {1: first}, self.batch_seq)
            assert flush.advance(1_000)

    def need(self, *names):
        """A micro-batch with these users."""
        self.batch_seq += 1
        buffer, start, length, hashes = spans([name.encode() for name in names])
        slots, created = self.residency.by_id(buffer, start, length, hashes, self.batch_seq)
        assert slots.tolist() == self.model.users.find(buffer, start, length, hashes).tolist()
        self.store.commit(Commit(self.batch_seq))
        return created

    def resident(self):
        return {name.decode() for name in self.model.users.ids(self.model.users.slots)}


def names(first, stop):
    return [f"u{n}" for n in range(first, stop)]


def test_nothing_leaves_while_there_is_room():
    world = World()
    world.create(*names(0, CAPACITY))
    assert world.need(*names(0, 5)) == 0
    assert world.resident() == set(names(0, CAPACITY))
    assert world.residency.complete


def test_the_longest_untouched_make_room_and_come_back_as_they_were():
    world = World()
    world.create(*names(0, CAPACITY))
    world.need(*names(4, CAPACITY))
    assert world.need("new1", "new2", "new1") == 2
    gone = set(names(0, CAPACITY)) - world.resident()
    assert gone < set(names(0, 4))
    assert len(gone) == max(2, CAPACITY // EVICTED_SHARE)
    assert not world.residency.complete
    assert world.need(*gone) == 0
    users = world.model.users
    for name in gone:
        assert users.vectors[users.find_ids([name.encode()])[0], 0] == int(name[1:])


def test_loaded_and_new_users_are_told_apart():
    world = World()
    world.create(*names(0, CAPACITY))
    world.need("new1", "new2")
    gone = sorted(set(names(0, CAPACITY)) - world.resident())
    assert world.need(*gone, "new3", "u15") == 1


def test_changed_rows_do_not_leave():
    """They are nowhere else but in the journal."""
    world = World()
    world.create(*names(0, 12), flushed=False)
    with pytest.raises(RowsExhaustedError, match=r"0 of 16 can leave.*state\.rows_max"):
        world.need(*[f"n{n}" for n in range(5)])
    assert world.resident() == set(names(0, 12))


def test_what_the_same_batch_needs_does_not_leave():
    world = World()
    world.create(*names(0, CAPACITY))
    with pytest.raises(RowsExhaustedError):
        world.need(*names(0, CAPACITY), "new")


def test_users_of_histories_are_loaded_and_room_is_left_for_new_ones():
    world = World()
    world.create(*names(0, CAPACITY))
    world.need(*[f"n{n}" for n in range(8)])
    assert world.model.users.size <= 8
    batch_seq = world.batch_seq + 1
    world.residency.by_ordinal(np.array([0, 1, 1, 2, 3]), 8, batch_seq)
    slots = world.model.users.find_ordinals(np.arange(4))
    assert (slots >= 0).all()
    assert (world.model.users.touched_at[slots] == batch_seq).all()
    assert world.model.users.size + 8 <= CAPACITY
