"""One line that says what the whole state is, whatever its layout on disk."""

import hashlib
from collections.abc import Iterator
from typing import Protocol

import orjson

from state.codec import EVENT_IDS, GLOBAL, ITEM, NEIGHBOUR_STEPS, NEIGHBOURS, USER, row_id
from state.neighbour_rows import NeighbourRows
from state.store import CONTROL_MEMO, PREQUENTIAL_MEMO, Reader

DIGESTED_MEMOS = (PREQUENTIAL_MEMO, CONTROL_MEMO)
"""Memos that are part of the state; others are for people."""


class _Hash(Protocol):
    def update(self, data: bytes) -> None: ...


def digest(reader: Reader) -> str:
    """SHA-256, hexadecimal, over rows in id order, global arrays, event ids, memos and offsets.

    Users and items are ordered by id, other rows by ordinal; each row enters as the SHA-256 of its bytes.
    Outbox, schedule and heartbeat are left out. Memory: about 100 bytes a row.
    """
    head = reader.head()
    newest: dict[tuple[int, int], bytes] = {}
    for entry in reader.journal(head.flushed_through):
        for rows in entry.rows:
            newest.update(((rows.kind, o), rows.row(i)) for i, o in enumerate(rows.ordinals.tolist()))
    total = hashlib.sha256()
    for kind in (USER, ITEM):
        found = sorted(
            (row_id(row), hashlib.sha256(row).digest()) for _, row in _current(reader, kind, newest)
        )
        _add(total, f"kind {kind}: {len(found)}".encode())
        for name, row_digest in found:
            _add(total, name)
            total.update(row_digest)
    for kind in (GLOBAL, EVENT_IDS):
        for ordinal, row in sorted(_current(reader, kind, newest)):
            _add(total, f"kind {kind}: {ordinal}".encode())
            _add(total, row)
    for ordinal, row in _neighbours(reader):
        _add(total, f"kind {NEIGHBOURS}: {ordinal}".encode())
        _add(total, row)
    for memo in DIGESTED_MEMOS:
        _add(total, head.memo.get(memo, b""))
    _add(total, orjson.dumps([[t, p, offset] for (t, p), offset in sorted(head.offsets.items())]))
    return total.hexdigest()


def _current(reader: Reader, kind: int, newest: dict[tuple[int, int], bytes]) -> Iterator[tuple[int, bytes]]:
    """Every row of a kind as (ordinal, bytes): the journal's where it has one, else the row family's."""
    for rows in reader.scan(kind):
        for i, ordinal in enumerate(rows.ordinals.tolist()):
            if (kind, ordinal) not in newest:
                yield ordinal, rows.row(i)
    for (code, ordinal), row in newest.items():
        if code == kind:
            yield ordinal, row


def _neighbours(reader: Reader) -> Iterator[tuple[int, bytes]]:
    """Every list of neighbours as (ordinal, bytes): the row family's, with the steps of the journal taken."""
    stored = list(reader.scan(NEIGHBOURS))
    entries = list(reader.journal(reader.head().flushed_through))
    steps = [
        (rows, entry.batch_seq) for entry in entries for rows in entry.rows if rows.kind == NEIGHBOUR_STEPS
    ]
    last = [int(rows.ordinals[-1]) for rows in (*stored, *(rows for rows, _ in steps)) if len(rows)]
    lists = NeighbourRows(max(last, default=-1) + 1)
    for rows in stored:
        lists.apply(rows)
    for rows, batch_seq in steps:
        lists.apply_steps(rows, batch_seq)
    packed = lists.changed_since(0)
    yield from ((ordinal, packed.row(i)) for i, ordinal in enumerate(packed.ordinals.tolist()))


def _add(total: _Hash, data: bytes) -> None:
    """Length first, so that no two sequences of fields run together to the same bytes."""
    total.update(len(data).to_bytes(8, "little"))
    total.update(data)
