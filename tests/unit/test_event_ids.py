"""The latest idempotency keys against a deque and a set."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.codec import EVENT_IDS, single_rows
from state.errors import StoreCorruptError
from state.event_ids import CHUNK, CHUNKS_MAX, EventIds
from state.store import Rows
from stream.config import DecodeConfig


class Oracle:
    """The keys that are remembered, oldest first."""

    def __init__(self, kept: int):
        self.kept, self.partitions = kept, {}

    def admit(self, partition: int, hashes: list[int]) -> list[bool]:
        recent = self.partitions.setdefault(partition, deque(maxlen=self.kept))
        duplicates = []
        for value in hashes:
            duplicates.append(value != 0 and value in recent)
            if value and not duplicates[-1]:
                recent.append(value)
        return duplicates


class Disk:
    """Rows as a store keeps them."""

    def __init__(self):
        self.rows: dict[int, bytes] = {}

    def take(self, rows: Rows) -> None:
        self.rows.update({ordinal: rows.row(i) for i, ordinal in enumerate(rows.ordinals.tolist())})

    def restored(self, kept: int) -> EventIds:
        found = EventIds(kept)
        found.apply(single_rows(EVENT_IDS, self.rows))
        return found


def hashes(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint64)


# Few different values, close together and colliding in small tables, so that duplicates and probing happen.
VALUES = (
    st.integers(0, 60) | st.integers(2**64 - 40, 2**64 - 1) | st.sampled_from([k << 40 for k in range(40)])
)
BATCHES = st.lists(
    st.tuples(st.integers(0, 3), st.lists(VALUES, max_size=30), st.sampled_from("  jr")), max_size=30
)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 25), BATCHES)
def test_they_agree_with_a_deque_whatever_is_restored_when(kept, batches):
    ids, oracle, disk = EventIds(kept), Oracle(kept), Disk()
    for partition, values, action in batches:
        assert ids.admit(partition, hashes(values)).tolist() == oracle.admit(partition, values)
        if action == "j":
            disk.take(ids.take_changed())
        elif action == "r":
            disk.take(ids.take_changed())
            ids = disk.restored(kept)


@pytest.mark.parametrize("kept", [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_chunks_hold_the_ring_across_their_boundaries(kept):
    random = np.random.default_rng(kept)
    ids, oracle, journalled, flushed = EventIds(kept), Oracle(kept), Disk(), Disk()
    for turn in range(12):
        values = random.integers(1, 3 * kept, 700).tolist()
        assert ids.admit(2, hashes(values)).tolist() == oracle.admit(2, values)
        changed = ids.take_changed()
        assert 2 <= len(changed) <= 4
        journalled.take(changed)
        if turn % 4 == 3:
            flushed = Disk()
            flushed.take(ids.changed_since(0))
            assert flushed.rows == journalled.rows
            ids = flushed.restored(kept)


def test_a_batch_longer_than_the_ring_keeps_the_latest():
    ids, disk = EventIds(10), Disk()
    assert not ids.admit(0, np.arange(1, 101, dtype=np.uint64)).any()
    disk.take(ids.take_changed())
    for view in (ids, disk.restored(10)):
        assert view.admit(0, np.arange(91, 101, dtype=np.uint64)).all()
        assert not view.admit(0, hashes([90])).any()


def test_nothing_changes_without_keys():
    ids = EventIds(10)
    assert not ids.admit(0, hashes([0, 0])).any()
    assert len(ids.take_changed()) == len(ids.changed_since(0)) == 0


def test_with_none_kept_nothing_is_a_duplicate():
    ids = EventIds(0)
    assert not ids.admit(0, hashes([5, 5])).any()
    assert len(ids.take_changed()) == 0


def test_partitions_do_not_share_rows_however_many_are_kept():
    """The largest setting leaves room for the row that counts."""
    largest = next(m.le for m in DecodeConfig.model_fields["event_ids_kept"].metadata if hasattr(m, "le"))
    assert -(-largest // CHUNK) <= CHUNKS_MAX - 1


@pytest.mark.parametrize(
    "rows", [{0: b"x"}, {0: b"x" * 8}, {1: b"x" * 80}, {CHUNKS_MAX - 1: b""}, {CHUNKS_MAX - 1: b"x" * 16}]
)
def test_damaged_rows_are_named(rows):
    with pytest.raises(StoreCorruptError, match="event ids of partition 0"):
        EventIds(10).apply(single_rows(EVENT_IDS, rows))


@pytest.mark.parametrize("damaged", [[5, 6, 5], [5, 0, 6]], ids=["twice", "empty"])
def test_a_ring_that_is_no_set_is_named(damaged):
    """Without this a hash that the set has not would be looked for for ever."""
    hashes = np.zeros(10, np.uint64)
    hashes[:3] = damaged
    count = np.array([3], np.uint64)
    event_ids = EventIds(10)
    event_ids.apply(single_rows(EVENT_IDS, {0: hashes.tobytes(), CHUNKS_MAX - 1: count.tobytes()}))
    with pytest.raises(StoreCorruptError, match="ring of event ids"):
        event_ids.admit(0, np.array([7], np.uint64))
