"""Users and items in memory: tables of factors, and of whom each has to do with.

Items are *dense*: their slot is their permanent ordinal, and they are always resident. Users come and go.
"""

import numpy as np

from state import maps
from state.arrays import F32, F64, I32, I64, U32
from state.codec import Layout, item_layout, user_layout
from state.scoring.blend import inverse_norms_of
from state.store import Rows
from state.table import Table


class FactorTable(Table):
    """Rows with a vector, and with a history: their latest interactions.

    Columns have one row per slot: `vectors` float32 [capacity, rank]; `bias`, `accumulator` float32;
    `interactions` int32 (learnt so far).
    """

    def __init__(self, layout: Layout, capacity: int, history_max: int, *, dense: bool) -> None:
        super().__init__(layout, capacity, history_max, dense=dense)
        self.history_max = history_max
        self.vectors: F32 = self.columns["vector"]
        self.bias: F32 = self.columns["bias"].reshape(-1)
        self.accumulator: F32 = self.columns["accumulator"].reshape(-1)
        self.interactions: I32 = self.columns["interactions"].reshape(-1)

    def history(self, slot: int) -> tuple[U32, F32]:
        """Ordinals on the other side and signed strengths, oldest first: views, until the next change."""
        others, strengths = self._fields
        span = self.lists.span(slot)
        return others[span], strengths[span]

    def histories(self, slots: I64) -> tuple[I64, I64, F32]:
        """Histories of many slots as (bounds [n + 1], others, strengths)."""
        (others, strengths), start, length = self._fields, self.lists.start, self.lists.length
        bounds = np.zeros(len(slots) + 1, np.int64)
        np.cumsum(length[slots], out=bounds[1:])
        position = np.arange(bounds[-1]) - np.repeat(bounds[:-1] - start[slots], length[slots])
        return bounds, others[position].astype(np.int64), strengths[position]

    def entries(self, room: int) -> maps.Histories:
        """The histories, with room for `room` entries more; valid until rows come or go."""
        lists = self.lists
        lists.reserve(room)
        return maps.Histories(
            lists.start,
            lists.length,
            lists.size_class,
            *self._fields,
            lists.sizes,
            lists.free,
            lists.top,
            self.history_max,
        )

    def append(self, slots: I64, others: I64, strengths: F32) -> None:
        """Append interactions to histories, in order."""
        maps.append_entries(self.entries(len(slots)), slots, others, strengths)

    def remove(self, slot: int, other: int) -> float:
        """Take the latest interaction with `other` out of a history; its strength, NaN if there is none."""
        return float(maps.remove_entry(self.entries(0), slot, other))

    @property
    def _fields(self) -> tuple[U32, F32]:
        others, strengths = self.lists.fields.values()
        return others, strengths  # type: ignore[return-value]


class Users(FactorTable):
    """`last_event_ms` int64 [capacity]: time of the latest interaction."""

    def __init__(self, rank: int, capacity: int, history_max: int) -> None:
        super().__init__(user_layout(rank), capacity, history_max, dense=False)
        self.last_event_ms: I64 = self.columns["last_event_ms"].reshape(-1)

    @property
    def slot_map(self) -> tuple[U32, I32]:
        """What `maps.find_ordinal` needs: permanent ordinals of slots, and the map."""
        return self.index.ordinals, self.index.by_ordinal


class Items(FactorTable):
    """`counts` float64 [capacity, 5] and `counted_at` int64 [capacity]: see `state.scoring.popularity`.

    Derived and not stored: `inverse_norms` float32 [capacity] of the vectors.
    """

    def __init__(self, rank: int, capacity: int, history_max: int) -> None:
        super().__init__(item_layout(rank), capacity, history_max, dense=True)
        self.counts: F64 = self.columns["counts"]
        self.counted_at: I64 = self.columns["counted_at"].reshape(-1)
        self.inverse_norms = np.zeros(capacity, np.float32)

    def apply(self, rows: Rows) -> I64:
        """See `Table.apply`."""
        slots = super().apply(rows)
        inverse_norms_of(self.vectors, slots, self.inverse_norms)
        return slots
