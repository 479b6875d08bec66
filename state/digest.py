"""One line that says what the whole state is, whatever its layout on disk."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol, cast

import orjson

from state import kinds
from state.codec import row_id
from state.kinds import Kind, Part, Sizes, SteppedPart
from state.store import CONTROL_MEMO, PREQUENTIAL_MEMO, Reader

DIGESTED_MEMOS = (PREQUENTIAL_MEMO, CONTROL_MEMO)
"""Memos that are part of the state; others are for people."""


class _Hash(Protocol):
    def update(self, data: bytes) -> None: ...


def digest(reader: Reader) -> str:
    """SHA-256, hexadecimal, over rows in id order, global arrays, event ids, memos and offsets.

    Kinds come in the order of `state.kinds`, rows in that of their ids, or
    else of their ordinals; each row enters as the SHA-256 of its bytes.
    Outbox, schedule and heartbeat are left out. Memory: about 100 bytes a row.
    """
    head = reader.head()
    newest: dict[tuple[int, int], bytes] = {}
    for entry in reader.journal(head.flushed_through):
        for rows in entry.rows:
            newest.update(((rows.kind, o), rows.row(i)) for i, o in enumerate(rows.ordinals.tolist()))
    total = hashlib.sha256()
    for kind in kinds.KINDS:
        if not kind.digested:
            continue
        found = _current(reader, kind.code, newest) if kind.steps is None else _stepped(reader, kind)
        if kind.by_id:
            _add_by_id(total, kind.code, found)
        else:
            for ordinal, row in sorted(found):
                _add(total, f"kind {kind.code}: {ordinal}".encode())
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


def _stepped(reader: Reader, kind: Kind[Part]) -> Iterator[tuple[int, bytes]]:
    """Every row of a kind as (ordinal, bytes): the row family's, with the steps of the journal taken."""
    stored = list(reader.scan(kind.code))
    entries = list(reader.journal(reader.head().flushed_through))
    steps = [(rows, entry.batch_seq) for entry in entries for rows in entry.rows if rows.kind == kind.steps]
    last = [int(rows.ordinals[-1]) for rows in (*stored, *(rows for rows, _ in steps)) if len(rows)]
    size = max(last, default=-1) + 1
    part = cast("SteppedPart", kind.create(Sizes(1, size, size, 1, 0)))
    for rows in stored:
        part.apply(rows)
    for rows, batch_seq in steps:
        part.apply_steps(rows, batch_seq)
    packed = part.changed_since(0)
    yield from ((ordinal, packed.row(i)) for i, ordinal in enumerate(packed.ordinals.tolist()))


def _add_by_id(total: _Hash, code: int, rows: Iterable[tuple[int, bytes]]) -> None:
    found = sorted((row_id(row), hashlib.sha256(row).digest()) for _, row in rows)
    _add(total, f"kind {code}: {len(found)}".encode())
    for name, row_digest in found:
        _add(total, name)
        total.update(row_digest)


def _add(total: _Hash, data: bytes) -> None:
    """Length first, so that no two sequences of fields run together to the same bytes."""
    total.update(len(data).to_bytes(8, "little"))
    total.update(data)
