"""A store of an earlier program, opened by one whose ranking score weighs other features."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from state.codec import GLOBAL, single_rows
from state.global_arrays import ordinals_of_another_length
from state.rocksdb.database import RocksView
from state.rocksdb.writer import RocksWriter
from state.store import JournalEntry, Rows


class WithoutOldWeights(RocksWriter):
    """A writer that does not show weights of another length: what is loaded from it begins with new ones."""

    def scan(self, kind: int) -> Iterator[Rows]:
        """Every row but those."""
        return map(_without_old, super().scan(kind))

    def journal(self, after: int) -> Iterator[JournalEntry]:
        """Entries without those."""
        for entry in super().journal(after):
            yield replace(entry, rows=tuple(map(_without_old, entry.rows)))


def old_weights(store: RocksView) -> frozenset[int]:
    """Ordinals of global arrays that are weights of another length; none if this program wrote the store."""
    blocks: Iterable[Rows] = [
        *store.scan(GLOBAL),
        *(rows for entry in store.journal(store.flushed_through()) for rows in entry.rows),
    ]
    return frozenset(ordinal for rows in blocks for ordinal in ordinals_of_another_length(rows))


def _without_old(rows: Rows) -> Rows:
    old = ordinals_of_another_length(rows)
    if not old:
        return rows
    kept = {ordinal: rows.row(i) for i, ordinal in enumerate(rows.ordinals.tolist()) if ordinal not in old}
    return single_rows(rows.kind, kept)
