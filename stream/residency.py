"""Bringing the rows that a batch needs into memory, and letting colder ones go.

Every row changed since the last flush is resident, and every row of the row family that is not
resident is unchanged since: so a row loaded from the row family is always the current one.
"""

import numpy as np

from state import maps
from state.arrays import I32, I64, U8, U64
from state.codec import USER
from state.errors import RowsExhaustedError
from state.model import Model
from state.store import Reader

EVICTED_SHARE = 8
"""When room is needed at least one in so many rows of the bound is evicted, so that eviction stays rare."""


class Residency:
    """Which users of a model are in memory. Items always are."""

    def __init__(self, model: Model, store: Reader) -> None:
        self._model, self._store = model, store

    @property
    def complete(self) -> bool:
        """Whether every user there is is resident, so that one not found is new."""
        return self._model.users.size == self._model.user_count

    def by_id(self, buffer: U8, start: I64, length: I32, hashes: U64, batch_seq: int) -> tuple[I64, int]:
        """Make the users with these ids resident as far as they exist, with room for those that do not.

        Returns slots int64 [n], -1 for those that do not exist, and how many different ones these are.
        """
        users = self._model.users
        slots = users.find(buffer, start, length, hashes)
        users.touched_at[slots[slots >= 0]] = batch_seq
        first = np.empty(len(slots), np.int64)
        missing = int(maps.distinct_spans(buffer, start, length, hashes, slots < 0, first))
        if missing:
            self._make_room(missing, batch_seq)
        if not missing or self.complete:
            return slots, missing
        distinct = np.flatnonzero(first == np.arange(len(first)))
        ids = [
            buffer[a : a + n].tobytes()
            for a, n in zip(start[distinct].tolist(), length[distinct].tolist(), strict=True)
        ]
        ordinals = self._store.lookup(USER, ids)
        if (ordinals >= 0).any():
            self._load(ordinals[ordinals >= 0], batch_seq)
            slots = users.find(buffer, start, length, hashes)
        return slots, int(np.count_nonzero(ordinals < 0))

    def by_ordinal(self, ordinals: I64, reserved: int, batch_seq: int) -> None:
        """Make the users with these permanent ordinals resident; each of them exists.

        Leaves room for `reserved` others that the batch will create.
        """
        users = self._model.users
        ordinals = np.unique(ordinals)
        slots = users.find_ordinals(ordinals)
        users.touched_at[slots[slots >= 0]] = batch_seq
        missing = ordinals[slots < 0]
        if len(missing):
            self._make_room(len(missing) + reserved, batch_seq)
            self._load(missing, batch_seq)

    def unpin(self, batch_seq: int) -> None:
        """Let the rows go that were only needed for a batch that did not fit."""
        touched_at = self._model.users.touched_at
        touched_at[touched_at == batch_seq] = batch_seq - 1

    def _load(self, ordinals: I64, batch_seq: int) -> None:
        if len(ordinals):
            users = self._model.users
            slots = users.apply(self._store.load(USER, ordinals))
            users.touched_at[slots] = batch_seq

    def _make_room(self, needed: int, batch_seq: int) -> None:
        """Evict the longest untouched of the users that are on disk as they are in memory."""
        users = self._model.users
        short = users.size + needed - users.capacity
        if short <= 0:
            return
        resident = users.slots
        clean = users.changed_at[resident] <= self._store.head().flushed_through
        idle = resident[clean & (users.touched_at[resident] < batch_seq)]
        if len(idle) < short:
            raise RowsExhaustedError(
                f"a micro-batch needs {needed} more users resident and {len(idle)} of {users.capacity} can "
                "leave: raise `state.rows_max` or lower `learning.batch_records_max`"
            )
        count = min(len(idle), max(short, users.capacity // EVICTED_SHARE))
        users.evict(idle[np.argpartition(users.touched_at[idle], count - 1)[:count]])
