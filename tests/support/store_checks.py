"""What every store must do: one list of checks, run against RocksDB and against memory.

Each check takes a `Ground`: a fresh store, a way to open views of it, and a way to close and reopen it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from state.codec import EVENT_IDS, FORMAT, GLOBAL, ITEM, USER, single_rows
from state.digest import digest
from state.errors import StoreError
from state.store import Commit, Flush, Head, OutboxRecord, Rows, TopicPartition, Version, VersionId

P0, P1 = TopicPartition("interactions", 0), TopicPartition("interactions", 1)
LETTER = OutboxRecord("t", None, b"letter")


@dataclass
class Ground:
    """A store to be checked. `reopen` closes it and gives what a new process would find."""

    store: Any
    open_reader: Callable[[], Any]
    reopen: Callable[[], Any]


def views(ground: Ground) -> Iterator[Any]:
    """The writer, and a reader of it."""
    yield ground.store
    yield ground.open_reader()


def every_view(ground: Ground) -> Iterator[Any]:
    """The writer, a reader of it, and what a new process finds."""
    yield from views(ground)
    yield ground.reopen()


def row(name: bytes, payload: bytes = b"") -> bytes:
    """A packed row with an id and no entries; to a store the rest is opaque."""
    return bytes([FORMAT]) + len(name).to_bytes(2, "little") + b"\0\0" + name + payload


def users(**payloads: bytes) -> Rows:
    """Rows of users u0, u1, ...: the number is the ordinal."""
    return single_rows(USER, {int(name[1:]): row(name.encode(), value) for name, value in payloads.items()})


def commit(store: Any, *rows: Rows, **fields: Any) -> int:
    """Commit the next micro-batch."""
    batch_seq = store.head().batch_seq + 1
    store.commit(Commit(batch_seq, rows, **fields))
    return batch_seq


def flush(store: Any, *rows: Rows, first_new: dict[int, int] | None = None) -> None:
    """Bring the row family up to the head."""
    finish(store.begin_flush(rows, first_new or {}, store.head().batch_seq))


def keep(store: Any, version: Version) -> None:
    """Keep the state as a version."""
    assert store.begin_keep(lambda: version).advance(wait=True)


def finish(flush: Flush, slice_rows: int = 3) -> int:
    """Advance a flush to its end; how many slices it took."""
    slices = 1
    while not flush.advance(slice_rows):
        slices += 1
        assert slices < 1_000
    return slices


def content(rows: Rows) -> dict[int, bytes]:
    """Rows by ordinal."""
    return {ordinal: rows.row(i) for i, ordinal in enumerate(rows.ordinals.tolist())}


def scanned(reader: Any, kind: int) -> dict[int, bytes]:
    """Every row of a kind, ascending."""
    found: dict[int, bytes] = {}
    for rows in reader.scan(kind):
        found.update(content(rows))
    assert list(found) == sorted(found)
    return found


def journal(reader: Any, after: int = 0) -> list[tuple[int, list[tuple[int, dict[int, bytes]]]]]:
    """Journal entries as plain values."""
    return [
        (entry.batch_seq, [(rows.kind, content(rows)) for rows in entry.rows])
        for entry in reader.journal(after)
    ]


def check_new_store_is_empty(ground: Ground) -> None:
    """Nothing has happened in it, and it says so everywhere."""
    head = ground.store.head()
    assert (head.generation, head.batch_seq, head.flushed_through) == (1, 0, 0)
    assert (dict(head.offsets), dict(head.memo), dict(head.applied_through_ms)) == ({}, {}, {})
    assert journal(ground.store) == []
    assert list(ground.store.schedule()) == list(ground.store.outbox()) == []
    assert scanned(ground.store, USER) == {}
    assert (ground.store.outbox_count, ground.store.outbox_bytes, ground.store.journal_bytes) == (0, 0, 0)


def check_commit_is_one_step(ground: Ground) -> None:
    """Rows, offsets, schedule, memos and outbox of a micro-batch appear together."""
    letter = OutboxRecord("dlq", b"k", b"v", (("reason", b"bad"),))
    commit(
        ground.store,
        users(u0=b"a", u1=b"b"),
        offsets={P0: 7},
        schedule={"kind": "batch", "ranges": [["interactions", 0, 0, 7]]},
        memo={"m": b"1"},
        outbox=(letter,),
    )
    for view in views(ground):
        head = view.head()
        assert (head.batch_seq, dict(head.offsets), dict(head.memo)) == (1, {P0: 7}, {"m": b"1"})
        assert journal(view) == [(1, [(USER, {0: row(b"u0", b"a"), 1: row(b"u1", b"b")})])]
        assert list(view.schedule()) == [(1, {"kind": "batch", "ranges": [["interactions", 0, 0, 7]]})]
        assert [record for _, record in view.outbox()] == [letter]


def check_commits_follow_one_another(ground: Ground) -> None:
    """A micro-batch out of turn is refused and changes nothing."""
    commit(ground.store, users(u0=b"a"), offsets={P0: 1})
    for wrong in (0, 1, 3):
        try:
            ground.store.commit(Commit(wrong, (users(u0=b"b"),), {P0: 9}, {"x": 1}, {"m": b""}))
        except StoreError:
            pass
        else:
            raise AssertionError(f"micro-batch {wrong} was let in after 1")
    assert ground.store.head().batch_seq == 1
    assert dict(ground.store.head().offsets) == {P0: 1}
    assert [seq for seq, _ in journal(ground.store)] == [1]
    assert list(ground.store.schedule()) == []


def check_offsets_and_memos_accumulate(ground: Ground) -> None:
    """What a micro-batch does not name stays as it was."""
    commit(ground.store, offsets={P0: 1, P1: 5}, memo={"a": b"1", "b": b"1"})
    commit(ground.store, offsets={P0: 2}, memo={"b": b"2"})
    for view in every_view(ground):
        assert dict(view.head().offsets) == {P0: 2, P1: 5}
        assert dict(view.head().memo) == {"a": b"1", "b": b"2"}


def check_view_moves_at_catch_up_only(ground: Ground) -> None:
    """A reader sees one moment until it asks for the next."""
    commit(ground.store, users(u0=b"a"), offsets={P0: 1}, schedule={"n": 1}, memo={"m": b"1"})
    flush(ground.store, users(u0=b"a"), first_new={USER: 0})
    reader = ground.open_reader()
    before = _everything(reader)
    letter = OutboxRecord("t", None, b"v")
    commit(ground.store, users(u0=b"b", u1=b"c"), offsets={P0: 2}, memo={"m": b"2"}, outbox=(letter,))
    flush(ground.store, users(u0=b"b", u1=b"c"), first_new={USER: 1})
    ground.store.heartbeat({P0: 123})
    assert _everything(reader) == before
    reader.catch_up()
    after = _everything(reader)
    assert after == _everything(ground.store)
    assert after != before


def _everything(view: Any) -> tuple[Any, ...]:
    head = view.head()
    return (
        (head.batch_seq, head.flushed_through, head.version, dict(head.offsets)),
        (dict(head.memo), dict(head.applied_through_ms)),
        journal(view, head.flushed_through),
        scanned(view, USER),
        view.lookup(USER, [b"u0", b"u1"]).tolist(),
        list(view.schedule()),
        list(view.outbox()),
    )


def check_flush_appears_at_once(ground: Ground) -> None:
    """However many slices it takes, rows, index and `flushed_through` appear together at the end."""
    rows = users(**{f"u{i}": bytes([i]) for i in range(10)})
    commit(ground.store, rows)
    flushing = ground.store.begin_flush([rows], {USER: 0}, 1)
    slices = 0
    while True:
        reader = ground.open_reader()
        assert reader.head().flushed_through == ground.store.head().flushed_through == 0
        assert scanned(reader, USER) == scanned(ground.store, USER) == {}
        assert reader.lookup(USER, [b"u3"]).tolist() == [-1]
        reader.close()
        slices += 1
        if flushing.advance(3):
            break
    assert slices > 2
    for view in views(ground):
        assert view.head().flushed_through == 1
        assert scanned(view, USER) == content(rows)
        assert view.lookup(USER, [b"u3"]).tolist() == [3]


def check_commits_go_on_during_a_flush(ground: Ground) -> None:
    """Batches committed while a flush is under way stay in the journal after it."""
    commit(ground.store, users(u0=b"old", u1=b"old"))
    flushing = ground.store.begin_flush([users(u0=b"old", u1=b"old")], {USER: 0}, 1)
    commit(ground.store, users(u1=b"new", u2=b"new"))
    finish(flushing)
    head = ground.store.head()
    assert (head.batch_seq, head.flushed_through) == (2, 1)
    assert scanned(ground.store, USER) == {0: row(b"u0", b"old"), 1: row(b"u1", b"old")}
    assert journal(ground.store, 1) == [(2, [(USER, {1: row(b"u1", b"new"), 2: row(b"u2", b"new")})])]
    assert ground.store.journal_bytes > 0
    flush(ground.store, users(u1=b"new", u2=b"new"), first_new={USER: 2})
    assert ground.store.journal_bytes == 0
    assert scanned(ground.store, USER)[1] == row(b"u1", b"new")
    assert ground.store.lookup(USER, [b"u0", b"u1", b"u2", b"u3"]).tolist() == [0, 1, 2, -1]


def check_lookup(ground: Ground) -> None:
    """Ids of one kind are not those of another; absent ids, long ids and odd bytes are told apart."""
    odd = [b"\0", b"\0\0", b"a" * 256, b"a" * 255, "ü".encode(), b"u"]
    rows = {
        USER: single_rows(USER, {i: row(name) for i, name in enumerate(odd)}),
        ITEM: single_rows(ITEM, {i + 3: row(name) for i, name in enumerate(reversed(odd))}),
    }
    commit(ground.store, *rows.values())
    flush(ground.store, *rows.values(), first_new={USER: 0, ITEM: 0})
    for view in every_view(ground):
        assert view.lookup(USER, odd).tolist() == [0, 1, 2, 3, 4, 5]
        assert view.lookup(ITEM, odd).tolist() == [8, 7, 6, 5, 4, 3]
        assert view.lookup(USER, [b"b", b"a" * 254, b"u"]).tolist() == [-1, -1, 5]
        assert view.lookup(USER, []).tolist() == []


def check_only_new_ids_enter_the_index(ground: Ground) -> None:
    """Rows below the first new ordinal are written, not indexed again."""
    commit(ground.store, users(u0=b"a", u1=b"a"))
    flush(ground.store, users(u0=b"a", u1=b"a"), first_new={USER: 0})
    commit(ground.store, users(u1=b"b", u2=b"b"))
    flush(ground.store, users(u1=b"b", u2=b"b"), first_new={USER: 2})
    assert ground.store.lookup(USER, [b"u0", b"u1", b"u2"]).tolist() == [0, 1, 2]
    assert content(ground.store.load(USER, [0, 1, 2])) == {
        0: row(b"u0", b"a"),
        1: row(b"u1", b"b"),
        2: row(b"u2", b"b"),
    }


def check_load(ground: Ground) -> None:
    """Loaded rows are ascending and distinct; what is absent is left out."""
    rows = users(**{f"u{i}": b"x" * i for i in (0, 3, 300, 70_000)})
    commit(ground.store, rows)
    flush(ground.store, rows)
    for view in views(ground):
        loaded = view.load(USER, np.array([70_000, 3, 3, 4, 0]))
        assert loaded.ordinals.tolist() == [0, 3, 70_000]
        assert loaded.bounds[0] == 0
        assert [loaded.row(i) for i in range(3)] == [
            row(b"u0"),
            row(b"u3", b"xxx"),
            row(b"u70000", b"x" * 70_000),
        ]
        assert len(view.load(USER, [])) == len(view.load(USER, [5])) == len(view.load(ITEM, [0])) == 0


def check_scan_keeps_kinds_apart(ground: Ground) -> None:
    """Every kind has its own ordinals."""
    blocks = [
        users(u1=b"u", u2=b"v"),
        single_rows(ITEM, {1: row(b"i1")}),
        single_rows(GLOBAL, {0: b"g0", 5: b"g5"}),
        single_rows(EVENT_IDS, {2**40: b"ring"}),
    ]
    commit(ground.store, *blocks)
    flush(ground.store, *reversed(blocks))
    for view in views(ground):
        for block in blocks:
            assert scanned(view, block.kind) == content(block)


def check_rows_are_replaced_whole(ground: Ground) -> None:
    """The latest flush wins, and what it does not name stays."""
    commit(ground.store, users(u0=b"long value", u1=b"kept"))
    flush(ground.store, users(u0=b"long value", u1=b"kept"))
    commit(ground.store, users(u0=b""))
    flush(ground.store, users(u0=b""))
    assert scanned(ground.store, USER) == {0: row(b"u0"), 1: row(b"u1", b"kept")}


def check_empty_flush(ground: Ground) -> None:
    """A flush without rows still says how far the row family goes."""
    commit(ground.store, offsets={P0: 1})
    flush(ground.store)
    assert ground.store.head().flushed_through == 1
    assert ground.reopen().head().flushed_through == 1


def check_journal_has_no_gap(ground: Ground) -> None:
    """From `flushed_through` on every entry is there, in order; from before it perhaps none is."""
    for i in range(6):
        commit(ground.store, users(u0=bytes([i])))
        if i == 2:
            flush(ground.store, users(u0=bytes([i])))
    for view in every_view(ground):
        assert [seq for seq, _ in journal(view, 3)] == [4, 5, 6]
        assert [seq for seq, _ in journal(view, 5)] == [6]
        assert journal(view, 6) == []
        sequence = [seq for seq, _ in journal(view, 0)]
        assert sequence in ([], [1, 2, 3, 4, 5, 6])


def check_empty_batches_are_journalled(ground: Ground) -> None:
    """A micro-batch without rows leaves no gap."""
    commit(ground.store, offsets={P0: 1})
    commit(ground.store, users(u0=b"a"))
    assert journal(ground.store) == [(1, []), (2, [(USER, {0: row(b"u0", b"a")})])]


def check_outbox(ground: Ground) -> None:
    """Records stay, in order, under ids that are not used again, until they are acknowledged."""
    records = (
        OutboxRecord("t", None, b"value", (("h", b""), ("h", b"\xff\0"), ("ü", b"x"))),
        OutboxRecord("t", b"", b""),
        OutboxRecord("ü", b"key", None),
        OutboxRecord("t", b"k" * 300, b"v" * 70_000),
    )
    commit(ground.store, outbox=records[:2])
    commit(ground.store, outbox=records[2:])
    pending = list(ground.store.outbox())
    assert [record for _, record in pending] == list(records)
    assert [record_id for record_id, _ in pending] == sorted({record_id for record_id, _ in pending})
    assert ground.store.outbox_count == 4
    assert ground.store.outbox_bytes == sum(record.size for record in records)
    ground.store.acknowledge([pending[1][0], pending[3][0]])
    ground.store.acknowledge([])
    ground.store.acknowledge([pending[1][0], 10**6])
    assert list(ground.store.outbox()) == list(ground.open_reader().outbox()) == [pending[0], pending[2]]
    assert ground.store.outbox_bytes == records[0].size + records[2].size
    store = ground.reopen()
    assert (store.outbox_count, store.outbox_bytes) == (2, records[0].size + records[2].size)
    commit(store, outbox=(records[1],))
    assert [record for _, record in store.outbox()] == [records[0], records[2], records[1]]
    assert next(reversed(list(store.outbox())))[0] > pending[2][0]


def check_schedule(ground: Ground) -> None:
    """Entries outlive flushes and restarts, and can be read from anywhere; batches without one have none."""
    for i in range(1, 6):
        commit(
            ground.store, users(u0=b"a"), schedule={} if i == 3 else {"n": i, "list": [["t", i]], "text": "ü"}
        )
    flush(ground.store, users(u0=b"a"))
    for view in every_view(ground):
        assert [seq for seq, _ in view.schedule()] == [1, 2, 4, 5]
        assert list(view.schedule(4)) == [(5, {"n": 5, "list": [["t", 5]], "text": "ü"})]
        assert list(view.schedule(5)) == []


def check_heartbeat(ground: Ground) -> None:
    """Freshness accumulates by partition, makes no micro-batch, and is outside the digest."""
    commit(ground.store, users(u0=b"a"), offsets={P0: 1})
    before = digest(ground.store)
    ground.store.heartbeat({P0: 10, P1: 11})
    ground.store.heartbeat({P0: 20})
    assert digest(ground.store) == before
    for view in every_view(ground):
        assert dict(view.head().applied_through_ms) == {P0: 20, P1: 11}
        assert view.head().batch_seq == 1


def check_digest_ignores_layout(ground: Ground) -> None:
    """The digest covers rows, offsets and some memos; not flushes, outbox, schedule or other memos."""
    store = ground.store
    commit(
        store,
        users(u1=b"b", u0=b"a"),
        single_rows(GLOBAL, {0: b"g"}),
        offsets={P0: 1},
        memo={"control": b"c"},
    )
    before = digest(store)
    flush(store, users(u1=b"b", u0=b"a"), single_rows(GLOBAL, {0: b"g"}), first_new={USER: 0})
    commit(store, schedule={"n": 1}, memo={"fingerprint": b"f"}, outbox=(OutboxRecord("t", b"", b""),))
    assert digest(store) == digest(ground.open_reader()) == before
    changes: tuple[dict[str, Any], ...] = (
        {"rows": (users(u0=b"A"),)},
        {"rows": (single_rows(GLOBAL, {0: b"G"}),)},
        {"rows": (single_rows(EVENT_IDS, {0: b"e"}),)},
        {"rows": (users(u2=b""),)},
        {"offsets": {P0: 2}},
        {"offsets": {P1: 0}},
        {"memo": {"control": b"C"}},
        {"memo": {"prequential": b"p"}},
    )
    seen = {before}
    for change in changes:
        store.commit(Commit(store.head().batch_seq + 1, **change))
        seen.add(digest(store))
    assert len(seen) == 1 + len(changes)


def check_reopen(ground: Ground) -> None:
    """A new process finds everything as it was, and goes on."""
    rows = users(u0=b"a")
    commit(ground.store, rows, offsets={P0: 3}, schedule={"n": 1}, memo={"m": b"1"})
    flush(ground.store, rows, first_new={USER: 0})
    commit(ground.store, users(u0=b"b"), offsets={P0: 4})
    before, journal_bytes = _everything(ground.store), ground.store.journal_bytes
    store = ground.reopen()
    assert _everything(store) == before
    assert store.journal_bytes == journal_bytes > 0
    assert commit(store, users(u0=b"c")) == 3
    assert [seq for seq, _ in journal(store, 1)] == [2, 3]


def check_checkpoint(ground: Ground) -> None:
    """A version changes the name that replies carry, and nothing that is learnt."""
    rows = users(u0=b"a")
    commit(ground.store, rows, offsets={P0: 3})
    flush(ground.store, rows, first_new={USER: 0})
    before = digest(ground.store)
    keep(ground.store, Version(VersionId(1, 1), VersionId(1, 0), "test", 7, None, {P0: 3}))
    for view in every_view(ground):
        assert str(view.head().version) == "g1.1"
        assert digest(view) == before
        assert view.head().batch_seq == 1


def check_a_generation_begins_with_the_rows_that_are_there(ground: Ground) -> None:
    """It stands where its predecessor does, and has nothing of its own past but rows and memos."""
    row, store = users(u0=b"a"), ground.store
    commit(store, row, offsets={P0: 3}, schedule={"n": 1}, memo={"m": b"1"}, outbox=(LETTER,))
    predecessor = Head(4, 70, 60, VersionId(4, 50), {P1: 9}, {"m": b"2"}, {P1: 1_000})
    with pytest.raises(StoreError, match="flush them first"):
        store.begin_generation(predecessor, VersionId(3, 1))
    flush(store, row, first_new={USER: 0})
    store.begin_generation(predecessor, VersionId(3, 1))
    assert store.head() == Head(5, 70, 70, VersionId(3, 1), {P1: 9}, {"m": b"1"}, {P1: 1_000})
    assert (store.journal_bytes, store.outbox_bytes, store.outbox_count) == (0, 0, 0)
    assert commit(store, users(u1=b"b"), schedule={"n": 2}, outbox=(LETTER,)) == 71
    for view in every_view(ground):
        assert scanned(view, USER) == content(row)
        assert view.lookup(USER, [b"u0"]).tolist() == [0]
        assert [seq for seq, _ in journal(view)] == []
        assert [seq for seq, _ in journal(view, 70)] == [71]
        assert list(view.schedule()) == [(71, {"n": 2})]
        assert list(view.outbox()) == [(1, LETTER)]


def check_reading_leaves_no_trace(ground: Ground) -> None:
    """A reader may come, read and go in the middle of everything."""
    commit(ground.store, users(u0=b"a"))
    for _ in range(3):
        reader = ground.open_reader()
        assert reader.head().batch_seq == ground.store.head().batch_seq
        reader.close()
        commit(ground.store, users(u0=b"b"))
    assert ground.store.head().batch_seq == 4


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]
