"""The whole model in memory: users, items, global arrays, and the latest event ids.

Everything here is made of rows, so a store can keep it without knowing what it means.
"""

from collections.abc import Container, Iterable
from typing import TypeVar, cast

import numpy as np

from state import kinds
from state.arrays import I64
from state.errors import StoreCorruptError
from state.kinds import Kind, Part, Sizes, SteppedPart
from state.scoring.blend import Catalogue
from state.store import JournalEntry, Reader, Rows

ALL_CODES = range(256)

P = TypeVar("P", bound=Part)


class Model:
    """What has been learnt, as far as it is resident: one part for each of `state.kinds.KINDS`, by code.

    Derived from it, and not stored: `recent_times` int32 [items_max], how often each item is in the ring of
    recent ones.
    """

    def __init__(
        self, rank: int, rows_max: int, items_max: int, history_max: int, event_ids_kept: int
    ) -> None:
        self.rank, self.items_max = rank, items_max
        sizes = Sizes(rank, rows_max - items_max, items_max, history_max, event_ids_kept)
        self.parts: dict[int, Part] = {kind.code: kind.create(sizes) for kind in kinds.KINDS}
        self._stepped = {
            kind.steps: cast("SteppedPart", self.parts[kind.code])
            for kind in kinds.KINDS
            if kind.steps is not None
        }
        self.users, self.items = self._part(kinds.USERS), self._part(kinds.ITEMS)
        self.globals, self.event_ids = self._part(kinds.GLOBALS), self._part(kinds.EVENT_IDS)
        self.neighbours = self._part(kinds.NEIGHBOURS)
        self.evidence, self.inputs = self._part(kinds.EVIDENCE), self._part(kinds.INPUTS)
        self.recent_times = np.zeros(items_max, np.int32)

    def _part(self, kind: Kind[P]) -> P:
        return cast("P", self.parts[kind.code])

    @property
    def user_count(self) -> int:
        """Users ever created, resident or not."""
        return int(self.globals["counts"][0])

    @property
    def item_count(self) -> int:
        """Items ever created; all are resident."""
        return int(self.globals["counts"][1])

    @property
    def next_ordinals(self) -> dict[int, int]:
        """The ordinal that the next new row gets, by the code of each kind whose rows have ids."""
        return {kinds.USERS.code: self.user_count, kinds.ITEMS.code: self.item_count}

    @property
    def clock(self) -> int:
        """Interactions learnt so far."""
        return int(self.globals["clock"][0])

    @property
    def catalogue(self) -> Catalogue:
        """What the ranking score needs of all items."""
        items = self.items
        return Catalogue(
            items.vectors, items.inverse_norms, items.counts, items.counted_at, self.neighbours.lists
        )

    def apply(self, rows: Rows) -> None:
        """Take over stored rows of any kind."""
        if rows.kind not in self.parts:
            raise StoreCorruptError(
                f"there are rows of kind {rows.kind}, which this program does not know: "
                "the store is damaged or newer than the program; use the version that wrote it"
            )
        self.parts[rows.kind].apply(rows)

    def load(self, reader: Reader, codes: Iterable[int]) -> None:
        """Take over every row of these kinds that a row family has."""
        for code in codes:
            for rows in reader.scan(code):
                self.apply(rows)

    def follow(self, entry: JournalEntry, codes: Container[int] = ALL_CODES) -> None:
        """Take over what one micro-batch changed, as far as its rows have one of these codes."""
        for rows in entry.rows:
            if rows.kind in self._stepped and rows.kind in codes:
                self._stepped[rows.kind].apply_steps(rows, entry.batch_seq)
            elif rows.kind in codes:
                self.apply(rows)

    def count_recent(self) -> None:
        """Derive `recent_times`, which a writer needs once all rows have been applied."""
        held = self.globals["recent"][: self.globals["recent_state"][1]]
        self.recent_times[:] = np.bincount(held, minlength=self.items_max)[: self.items_max]

    def pack(self, users: I64, items: I64, globals_changed: Iterable[str]) -> tuple[Rows, ...]:
        """For the journal: slots and global arrays that changed, and what other parts say has."""
        self.users.mark(users)
        self.items.mark(items)
        self.globals.mark(globals_changed)
        return tuple(rows for part in self.parts.values() if len(rows := part.take_changed()))

    def changed_since(self, batch_seq: int) -> tuple[Rows, ...]:
        """For a flush: the present value of every row that changed after a micro-batch."""
        return tuple(part.changed_since(batch_seq) for part in self.parts.values())

    def changed_count(self, batch_seq: int) -> int:
        """How many rows a flush would write that changed after a micro-batch."""
        return sum(part.changed_count(batch_seq) for part in self.parts.values())
