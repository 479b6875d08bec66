"""The whole model in memory: users, items, global arrays, and the latest event ids.

Everything here is made of rows, so a store can keep it without knowing what it means.
"""

from collections.abc import Container, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from state.codec import (
    EVENT_IDS,
    GLOBAL,
    ITEM,
    NEIGHBOUR_STEPS,
    NEIGHBOURS,
    USER,
    item_kind,
    single_rows,
    user_kind,
)
from state.errors import StoreCorruptError
from state.event_ids import EventIds
from state.factors import Table
from state.neighbour_rows import NeighbourRows
from state.scoring import popularity
from state.scoring.blend import SIZE_REPEATS, Catalogue, first_weights, inverse_norms_of
from state.store import I64, JournalEntry, Rows

ALL_KINDS = range(256)

RECENT_ITEMS = 2_000
"""Length of the ring of recently liked items from which negatives are drawn."""


def global_arrays(rank: int) -> dict[str, npt.NDArray[Any]]:
    """Arrays of which there is one, as they begin. Their order gives their ordinals: append new ones.

    `counts`: users and items ever created; `clock`: interactions learnt; `mean`: running mean of ratings
    and their number; `gramian_*`: sums of outer products in units of 2^-32; `recent`: ring of recently liked
    items, `recent_state`: its next place and how many it holds; `weights` of the ranking score and their
    `curvature`, and the same for users of whom nothing is known: see `state.scoring.blend`.
    """
    return {
        "counts": np.zeros(2, np.int64),
        "clock": np.zeros(1, np.int64),
        "mean": np.zeros(2, np.float64),
        "gramian_user": np.zeros((rank, rank), np.int64),
        "gramian_item": np.zeros((rank, rank), np.int64),
        "recent": np.zeros(RECENT_ITEMS, np.int64),
        "recent_state": np.zeros(2, np.int64),
        "weights": first_weights(),
        "curvature": np.eye(SIZE_REPEATS),
        "newcomer_weights": popularity.first_weights(),
        "newcomer_curvature": np.eye(popularity.FEATURES),
    }


class Model:
    """What has been learnt, as far as it is resident.

    Derived from it, and not stored: `inverse_norms` float32 [items_max] of the items' vectors, and
    `recent_times` int32 [items_max], how often each item is in the ring of recent ones.
    """

    def __init__(
        self, rank: int, rows_max: int, items_max: int, history_max: int, event_ids_kept: int
    ) -> None:
        self.rank, self.items_max = rank, items_max
        self.users = Table(user_kind(rank), rows_max - items_max, history_max, dense=False)
        self.items = Table(item_kind(rank), items_max, history_max, dense=True)
        self.globals = global_arrays(rank)
        self.event_ids = EventIds(event_ids_kept)
        self.neighbours = NeighbourRows(items_max)
        self.inverse_norms = np.zeros(items_max, np.float32)
        self.recent_times = np.zeros(items_max, np.int32)

    @property
    def user_count(self) -> int:
        """Users ever created, resident or not."""
        return int(self.globals["counts"][0])

    @property
    def item_count(self) -> int:
        """Items ever created; all are resident."""
        return int(self.globals["counts"][1])

    @property
    def clock(self) -> int:
        """Interactions learnt so far."""
        return int(self.globals["clock"][0])

    @property
    def catalogue(self) -> Catalogue:
        """What the ranking score needs of all items."""
        items = self.items
        return Catalogue(
            items.vectors, self.inverse_norms, items.counts, items.counted_at, self.neighbours.lists
        )

    def apply(self, rows: Rows) -> None:
        """Take over stored rows of any kind."""
        if rows.kind == GLOBAL:
            self._apply_globals(rows)
        elif rows.kind == EVENT_IDS:
            self.event_ids.apply(rows)
        elif rows.kind == NEIGHBOURS:
            self.neighbours.apply(rows)
        elif rows.kind == USER:
            self.users.apply(rows)
        elif rows.kind == ITEM:
            inverse_norms_of(self.items.vectors, self.items.apply(rows), self.inverse_norms)
        else:
            raise StoreCorruptError(
                f"there are rows of kind {rows.kind}, which this program does not know: "
                "the store is damaged or newer than the program; use the version that wrote it"
            )

    def follow(self, entry: JournalEntry, kinds: Container[int] = ALL_KINDS) -> None:
        """Take over what one micro-batch changed, as far as it is of some kinds."""
        for rows in entry.rows:
            if rows.kind == NEIGHBOUR_STEPS and rows.kind in kinds:
                self.neighbours.apply_steps(rows, entry.batch_seq)
            elif rows.kind in kinds:
                self.apply(rows)

    def count_recent(self) -> None:
        """Derive `recent_times`, which a writer needs once all rows have been applied."""
        held = self.globals["recent"][: self.globals["recent_state"][1]]
        self.recent_times[:] = np.bincount(held, minlength=self.items_max)[: self.items_max]

    def pack(self, users: I64, items: I64, globals_changed: Iterable[str]) -> tuple[Rows, ...]:
        """Rows of the slots and global arrays that changed, and of event ids seen since the last call."""
        names = list(self.globals)
        arrays = {names.index(name): self.globals[name].tobytes() for name in globals_changed}
        blocks = (
            self.users.pack(users),
            self.items.pack(items),
            single_rows(GLOBAL, arrays),
            self.event_ids.take_changed(),
        )
        return tuple(block for block in blocks if len(block))

    def changed_since(self, batch_seq: int) -> tuple[Rows, ...]:
        """The present value of every row that changed after a micro-batch."""
        blocks: list[Rows] = []
        for table in (self.users, self.items):
            slots = table.slots
            blocks.append(table.pack(slots[table.changed_at[slots] > batch_seq]))
        blocks.append(self.neighbours.changed_since(batch_seq))
        return (*blocks, *self.pack_globals(), self.event_ids.all_rows())

    def pack_globals(self) -> tuple[Rows, ...]:
        """Every global array."""
        return (single_rows(GLOBAL, {i: array.tobytes() for i, array in enumerate(self.globals.values())}),)

    def _apply_globals(self, rows: Rows) -> None:
        names = list(self.globals)
        for i, ordinal in enumerate(rows.ordinals.tolist()):
            array = self.globals[names[ordinal]] if ordinal < len(names) else None
            value = rows.row(i)
            if array is None or len(value) != array.nbytes:
                raise StoreCorruptError(
                    f"global array {ordinal} has {len(value)} bytes, which is not one of this program's: "
                    "the store is damaged or newer than the program; use the version that wrote it"
                )
            array[...] = np.frombuffer(value, array.dtype).reshape(array.shape)
