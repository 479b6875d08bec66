"""Journal entries and outbox records as bytes: exact there and back, and damage has a name."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from state.codec import (
    EVENT_IDS,
    GLOBAL,
    ITEM,
    USER,
    pack_journal,
    pack_schedule,
    single_rows,
    unpack_journal,
    unpack_schedule,
)
from state.errors import FormatMismatchError, StoreCorruptError, StoreError
from state.factors import Users
from state.kernels import spans
from state.model import Model
from state.rocksdb.database import pack_outbox, unpack_outbox
from state.store import JournalEntry, OutboxRecord, Rows

BLOCKS = st.lists(
    st.builds(
        single_rows,
        st.integers(1, 2**32 - 1),
        st.dictionaries(st.integers(0, 2**62), st.binary(max_size=40), max_size=6),
    ),
    max_size=4,
)


def plain(entry: JournalEntry) -> tuple[int, list[tuple[int, list[tuple[int, bytes]]]]]:
    return entry.batch_seq, [
        (rows.kind, [(ordinal, rows.row(i)) for i, ordinal in enumerate(rows.ordinals.tolist())])
        for rows in entry.rows
    ]


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1), BLOCKS)
def test_journal_entries_come_back_as_they_were(batch_seq, blocks):
    entry = JournalEntry(batch_seq, tuple(blocks))
    assert plain(unpack_journal(pack_journal(entry))) == plain(entry)


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1), BLOCKS, st.data())
def test_journal_entries_that_are_cut_short_are_named(batch_seq, blocks, data):
    value = pack_journal(JournalEntry(batch_seq, tuple(blocks)))
    cut = data.draw(st.integers(0, len(value) - 1))
    with pytest.raises(StoreCorruptError, match="journal entry"):
        unpack_journal(value[:cut])
    with pytest.raises(StoreCorruptError, match="journal entry"):
        unpack_journal(value + b"\0")


def model() -> Model:
    return Model(2, rows_max=40, items_max=20, history_max=4, event_ids_kept=30)


def real_entry() -> bytes:
    """A journal entry with rows of every kind."""
    origin = model()
    users = origin.users.add(*spans([b"ann", b"bob", b"u" * 256]), np.arange(3))
    items = origin.items.add(*spans([b"film"]), np.arange(1))
    origin.users.append(np.repeat(users, 2), np.zeros(6, np.int64), np.ones(6, np.float32))
    origin.items.append(np.repeat(items, 3), np.arange(3), np.ones(3, np.float32))
    origin.event_ids.admit(3, np.arange(1, 20, dtype=np.uint64))
    return pack_journal(JournalEntry(7, origin.pack(users, items, list(origin.globals))))


REAL_ENTRY = real_entry()


def restore(value: bytes) -> Model:
    target = model()
    for rows in unpack_journal(value).rows:
        target.apply(rows)
    return target


def test_a_real_entry_restores_the_model():
    restored = restore(REAL_ENTRY)
    assert restored.users.ids(restored.users.slots) == [b"ann", b"bob", b"u" * 256]
    assert [kind.kind for kind in unpack_journal(REAL_ENTRY).rows] == [USER, ITEM, GLOBAL, EVENT_IDS]
    assert restored.event_ids.admit(3, np.array([5, 50], np.uint64)).tolist() == [True, False]


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(REAL_ENTRY) - 1), st.integers(1, 255))
@example(16, 0xFF)
@example(len(REAL_ENTRY) - 1, 0xFF)
def test_a_mutated_entry_is_restored_or_named(position, change):
    """Whatever one byte becomes: rows, or an error that says what is damaged; never a crash."""
    value = bytearray(REAL_ENTRY)
    value[position] ^= change
    with contextlib.suppress(StoreError):
        restore(bytes(value))


def test_every_byte_of_the_structure_is_guarded():
    """The header of the entry and of its first block: each wrong byte is noticed but that of the number."""
    noticed = []
    for position in range(16 + 20):
        value = bytearray(REAL_ENTRY)
        value[position] ^= 0xFF
        try:
            restore(bytes(value))
        except StoreError:
            noticed.append(position)
    batch_seq = range(4, 12)
    assert noticed == [position for position in range(36) if position not in batch_seq]


def test_another_format_is_told_from_damage():
    value = bytearray(REAL_ENTRY)
    value[2] += 1
    with pytest.raises(FormatMismatchError, match="state upgrade"):
        unpack_journal(bytes(value))


@pytest.mark.parametrize(
    ("ordinals", "bounds"),
    [([1, 0], [0, 2, 4]), ([0, 0], [0, 2, 4]), ([-1, 0], [0, 2, 4]), ([0, 1], [0, 5, 4]), ([0, 1], [1, 2, 4]),
     ([0, 1], [0, 2, 3]), ([0, 1], [0, 2, 5]), ([0, 1], [0, -2, 4])],
)  # fmt: skip
def test_rows_out_of_order_are_damage(ordinals, bounds):
    rows = Rows(USER, np.array(ordinals), np.array(bounds), np.zeros(4, np.uint8))
    with pytest.raises(StoreCorruptError):
        unpack_journal(pack_journal(JournalEntry(1, (rows,))))


def test_a_global_array_of_another_program_is_named():
    for rows in (single_rows(GLOBAL, {99: b"x"}), single_rows(GLOBAL, {0: b"x"})):
        with pytest.raises(StoreCorruptError, match="global array"):
            model().apply(rows)


def test_a_journal_entry_is_what_the_format_says():
    """Magic, format, batch_seq, blocks; then kind, rows, bytes, ordinals, bounds, rows: all little endian."""
    value = pack_journal(JournalEntry(5, (single_rows(9, {2: b"ab", 7: b"c"}),)))
    expected = b"LJ" + struct.pack("<HqI", 1, 5, 1) + struct.pack("<IQQ", 9, 2, 3)
    assert value == expected + struct.pack("<2q3q", 2, 7, 0, 2, 3) + b"abc"


def test_a_row_is_what_the_format_says():
    rows = Users(2, 4, 3)
    slots = rows.add(*spans([b"ann"]), np.array([6]))
    rows.vectors[slots] = [1.5, -2.0]
    rows.bias[slots], rows.accumulator[slots] = 0.25, 0.5
    rows.interactions[slots], rows.changed_at[slots], rows.last_event_ms[slots] = 3, 4, 5
    rows.append(np.repeat(slots, 2), np.array([8, 9]), np.array([1.0, -1.0], np.float32))
    expected = (
        b"\x01" + struct.pack("<HH", 3, 2) + b"ann" + struct.pack("<2fffiqq", 1.5, -2.0, 0.25, 0.5, 3, 4, 5)
    )
    assert rows.pack(slots).row(0) == expected + struct.pack("<2I2f", 8, 9, 1.0, -1.0)


TEXT = st.text(max_size=20)
BYTES = st.binary(max_size=60)


@settings(deadline=None)
@given(
    st.builds(
        OutboxRecord,
        TEXT,
        st.none() | BYTES,
        st.none() | BYTES,
        st.lists(st.tuples(TEXT, BYTES), max_size=5).map(tuple),
    )
)
def test_outbox_records_come_back_as_they_were(record):
    assert unpack_outbox(pack_outbox(record)) == record


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
        lambda x: st.lists(x) | st.dictionaries(TEXT, x),
    )
)
def test_schedule_entries_come_back_as_they_were(content):
    assert unpack_schedule(pack_schedule({"content": content})) == {"content": content}
