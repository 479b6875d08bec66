"""A copy of the model in memory as of one micro-batch, which moves on to the next.

Items are dense in memory. Of the users, those changed since the last flush are (the *overlay*); any
other user is one row away in the row family, which the reader's view holds still until the next refresh.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from serving.ranker import Blended, Catalogue, Ratings, User
from state import kinds
from state.arrays import I64
from state.errors import StoreError
from state.factors import Users
from state.model import Model
from state.scoring import blend, popularity
from state.scoring.spec import ScoringSpec
from state.store import Head, JournalEntry, Reader, Rows

SCALARS_EVENTS, SCALARS_ITEMS = 100, 20
"""The popularity part of every score is computed anew within so many events, or one for so many items."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a store may be in memory; see the settings of the same names."""

    rows_max: int
    items_max: int
    overlay_bytes_max: int


class Replica:
    """The model as of `head`, through one reader.

    `model` has what is in memory of it: of the users those of the overlay.
    """

    def __init__(self, reader: Reader, spec: ScoringSpec, bounds: Bounds) -> None:
        self.reader, self.spec = reader, spec
        self._overlay_bytes_max = bounds.overlay_bytes_max
        self.model = Model(spec.rank, bounds.rows_max, bounds.items_max, spec.history_max, event_ids_kept=0)
        self._one_user = Users(spec.rank, 1, spec.history_max)
        served = [kind for kind in kinds.KINDS if kind.served(spec)]
        self._resident = [kind.code for kind in served if kind.resident]
        self._followed = {code for kind in served for code in kind.codes}
        self._place = np.full(bounds.items_max if spec.blends else 0, -1, np.int32)
        self._scalars = np.empty((2, bounds.items_max if spec.blends else 0), np.float64)
        self._scalars_count = self._scalars_clock = self._turn = 0
        self._dropped_through = 0

    def load(self, head: Head) -> bool:
        """Read what is resident; False if the view's journal does not go from its flush to its head."""
        entries = pending_entries(self.reader, head.flushed_through, head, self._overlay_bytes_max)
        if entries is None:
            return False
        self.model.load(self.reader, self._resident)
        self.apply(entries, head)
        return True

    def apply(self, entries: Sequence[JournalEntry], head: Head) -> None:
        """Move on to `head`; `entries` hold every change since, as far as the row family does not."""
        for entry in entries:
            self.model.follow(entry, self._followed)
        if head.flushed_through > self._dropped_through:
            self._drop_flushed(head.flushed_through)
        self.head = head
        self.catalogue = self._catalogue()

    @property
    def overlay_users(self) -> int:
        """Users held in memory."""
        return self.model.users.size

    def user(self, user_id: bytes) -> User | None:
        """A user's row, or None if there is none."""
        slot = int(self.model.users.find_ids([user_id])[0])
        return _user(self.model.users, slot) if slot >= 0 else self._stored_user(user_id)

    def items(self, item_ids: Sequence[bytes]) -> I64:
        """Ordinals of items, -1 for unknown ones."""
        return self.model.items.find_ids(item_ids)

    def item_ids(self, ordinals: I64) -> list[str]:
        """Ids of items."""
        return [item_id.decode() for item_id in self.model.items.ids(ordinals)]

    def _stored_user(self, user_id: bytes) -> User | None:
        ordinals = self.reader.lookup(kinds.USERS.code, [user_id])
        rows = self.reader.load(kinds.USERS.code, ordinals[ordinals >= 0])
        return self._take_one(rows) if len(rows) else None

    def _take_one(self, rows: Rows) -> User:
        slots = self._one_user.apply(rows)
        user = _user(self._one_user, int(slots[0]))
        self._one_user.evict(slots)
        return user

    def _drop_flushed(self, flushed_through: int) -> None:
        users = self.model.users
        slots = users.slots
        users.evict(slots[users.changed_at[slots] <= flushed_through])
        self._dropped_through = flushed_through

    def _catalogue(self) -> Catalogue:
        items, n, spec = self.model.items, self.model.items.size, self.spec
        return Catalogue(
            items.vectors[:n],
            items.bias[:n],
            items.counts[:n],
            items.counted_at[:n],
            items.interactions[:n],
            self.model.clock,
            self._ratings() if spec.explicit else None,
            self._blended(n) if spec.blends else None,
        )

    def _ratings(self) -> Ratings:
        mean, seen = self.model.globals["mean"], self.model.globals["ratings_seen"]
        return Ratings(float(mean[0]), *seen.tolist())

    def _blended(self, count: int) -> Blended:
        model, clock = self.model, self.model.clock
        catalogue = blend.Catalogue(
            model.items.vectors[:count],
            model.items.inverse_norms[:count],
            model.items.counts[:count],
            model.items.counted_at[:count],
            model.neighbours.lists,
        )
        weights = model.globals["weights"].copy()
        of_popularity = weights[blend.POPULARITY : blend.NEIGHBOURS], model.globals["newcomer_weights"]
        due = self._due(catalogue.counted_at, clock)
        for kept, scalars in zip(of_popularity, self._scalars, strict=True):
            popularity.scalars_of(catalogue.counts, catalogue.counted_at, due, clock, kept, scalars)
        of_known, of_newcomers = self._scalars[:, :count]
        return Blended(catalogue, weights, of_known, of_newcomers, self.spec.repeats, self._place)

    def _due(self, counted_at: I64, clock: int) -> I64:
        """Items whose scalars are due: new and liked ones, and of the others as many as it is their turn.

        All at once would keep requests waiting: 40 ms for 200,000 items.
        """
        count = len(counted_at)
        interval = max(SCALARS_EVENTS, count // SCALARS_ITEMS)
        turns = min(-(-count * (clock - self._scalars_clock) // interval), count)
        due = counted_at > self._scalars_clock
        due[self._scalars_count :] = True
        due[(self._turn + np.arange(turns)) % max(count, 1)] = True
        self._turn = (self._turn + turns) % max(count, 1)
        self._scalars_count, self._scalars_clock = count, clock
        return np.flatnonzero(due)


def pending_entries(reader: Reader, after: int, head: Head, bytes_max: int) -> list[JournalEntry] | None:
    """Journal entries after `after` through the head, or None if one is missing."""
    entries: list[JournalEntry] = []
    size = 0
    if after < head.batch_seq:
        for entry in islice(reader.journal(after), head.batch_seq - after):
            entries.append(entry)
            size += sum(rows.data.nbytes for rows in entry.rows)
            if size > bytes_max:
                raise StoreError(
                    f"the journal holds more after micro-batch {after} than the {bytes_max:,} bytes that "
                    "`serving.overlay_bytes_max` allows: raise it above `state.journal_bytes_max`, or "
                    "see why the learner does not flush"
                )
    return entries if after + len(entries) >= head.batch_seq else None


def _user(table: Users, slot: int) -> User:
    others, strengths = table.history(slot)
    return User(
        table.vectors[slot].copy(),
        float(table.bias[slot]),
        others.copy(),
        strengths.copy(),
        int(table.last_event_ms[slot]),
    )
