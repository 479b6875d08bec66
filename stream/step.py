"""The pure pipeline: one micro-batch of interactions in, what to commit out.

    duplicates out -> what each means -> rows for new users and items -> histories
        -> predict (prequential) -> learn -> what changed

No clock, no randomness, no I/O: the same batch on the same model gives the same bits.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from state import maps
from state.factors import Table
from state.model import Model
from state.store import Rows
from stream import popularity
from stream.config import LearningConfig, PrequentialConfig
from stream.events import I32, I64, U8, U64, Changed, Interactions, Learnable, Records, Rejected
from stream.learner import Learner
from stream.meaning import strengths
from stream.prequential import Prequential, position_hashes

Mask = npt.NDArray[np.bool_]
Spans = tuple[U8, I64, I32, U64]
"""Ids: a buffer, where each begins, how long it is, and its hash."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a micro-batch did: rows to commit, records to reject, and counts by name."""

    rows: tuple[Rows, ...]
    rejected: tuple[Rejected, ...]
    counts: Mapping[str, int]


class Step:
    """One model and everything that changes it."""

    def __init__(
        self,
        model: Model,
        learner: Learner,
        prequential: Prequential,
        learning: LearningConfig,
        evaluation: PrequentialConfig,
    ) -> None:
        self.model, self.learner, self.prequential = model, learner, prequential
        self._learning, self._evaluation = learning, evaluation
        self.frozen = learning.freeze

    def __call__(self, records: Records, interactions: Interactions, batch_seq: int) -> Outcome:
        """Learn one batch, and say what to commit.

        Users of the batch that exist are resident, and so are those in touched items' histories.
        """
        changed, rejected, counts = self.learn(records, interactions, batch_seq)
        return Outcome(self._pack(changed), rejected, counts)

    def learn(
        self, records: Records, interactions: Interactions, batch_seq: int
    ) -> tuple[Changed, tuple[Rejected, ...], Mapping[str, int]]:
        """Learn one batch: rows that changed, records to reject, and counts by name."""
        counts: Counter[str] = Counter(events=len(interactions))
        strength, meaningful = strengths(interactions, self._learning)
        wanted = meaningful | interactions.remove
        rejected = self._without_room(interactions, wanted)
        admitted = ~np.isin(interactions.record, [refusal.record for refusal in rejected])
        duplicate = self._duplicates(records, interactions, admitted)
        wanted &= admitted & ~duplicate
        counts["duplicates"] = int(duplicate.sum())
        changed, learnt = _nothing(), 0
        if wanted.any():
            users, items = self._rows_of(interactions, wanted, batch_seq)
            known = wanted & (users >= 0) & (items >= 0)
            events = self._learnable(records, interactions, users, items, strength, known)
            self.prequential.score(self.model, events)
            if not self.frozen:
                clock = self.model.clock
                changed = self._learn(events, batch_seq)
                learnt = self.model.clock - clock
        counts["frozen" if self.frozen else "learnt"] = int(wanted.sum()) if self.frozen else learnt
        counts["not_learnt"] = int((admitted & ~duplicate).sum()) - counts["frozen"] - counts["learnt"]
        counts.update({f"refused_{reason}": n for reason, n in changed.refused.items()})
        return changed, rejected, counts

    def _duplicates(self, records: Records, interactions: Interactions, admitted: Mask) -> Mask:
        """Events whose idempotency key their partition has seen; those of admitted events now are seen."""
        duplicate = np.zeros(len(interactions), np.bool_)
        keys = np.where(admitted, interactions.event_id, np.uint64(0))
        if keys.any():
            partitions = records.partitions[interactions.record]
            for partition in np.unique(partitions).tolist():
                of_partition = np.flatnonzero(partitions == partition)
                duplicate[of_partition] = self.model.event_ids.admit(partition, keys[of_partition])
        return duplicate

    def _without_room(self, interactions: Interactions, wanted: Mask) -> tuple[Rejected, ...]:
        """Records with an item that is new when the catalogue is full.

        They are rejected whole, and before their idempotency keys count as seen: so they can be replayed.
        """
        model = self.model
        room = model.items_max - model.item_count
        if self.frozen or len(interactions) <= room:
            return ()
        buffer, start, length, hashes = _item_spans(interactions)
        slots = model.items.find(buffer, start, length, hashes)
        first = np.empty(len(slots), np.int64)
        maps.distinct_spans(buffer, start, length, hashes, wanted & ~interactions.remove & (slots < 0), first)
        new = np.flatnonzero(first == np.arange(len(first)))
        refused = np.unique(interactions.record[np.isin(first, new[room:])])
        reason = (
            f"the item is new and the catalogue is full with {model.items_max} items: "
            "raise `state.items_max`, then replay the dead letters"
        )
        return tuple(Rejected(record, "learn", reason, "catalogue_full") for record in refused.tolist())

    def _rows_of(self, interactions: Interactions, wanted: Mask, batch_seq: int) -> tuple[I64, I64]:
        """Slots of users and items, created where learning needs new ones, else -1."""
        creating = wanted & ~interactions.remove & (not self.frozen)
        items = self._slots(self.model.items, 1, _item_spans(interactions), creating, batch_seq)
        users = self._slots(self.model.users, 0, _user_spans(interactions), creating, batch_seq)
        return users, items

    def _slots(self, table: Table, counter: int, spans: Spans, creating: Mask, batch_seq: int) -> I64:
        """Slots of ids, -1 where there is none; those of `creating` are made in event order."""
        buffer, start, length, hashes = spans
        slots = table.find(buffer, start, length, hashes)
        first = np.empty(len(slots), np.int64)
        maps.distinct_spans(buffer, start, length, hashes, creating & (slots < 0), first)
        new = np.flatnonzero(first == np.arange(len(first)))
        if len(new):
            counts = self.model.globals["counts"]
            ordinals = counts[counter] + np.arange(len(new))
            added = table.add(buffer, start[new], length[new], hashes[new], ordinals)
            counts[counter] += len(new)
            table.touched_at[added] = batch_seq
            self.learner.start(self.model, table, added, hashes[new])
            slot_of = np.full(len(first), -1, np.int64)
            slot_of[new] = added
            missing = np.flatnonzero(first >= 0)
            slots[missing] = slot_of[first[missing]]
            # What a batch adds and takes back again is found although only the first makes a row.
            others = np.flatnonzero((slots < 0) & ~creating)
            slots[others] = table.find(buffer, start[others], length[others], hashes[others])
        return slots

    def _learnable(
        self,
        records: Records,
        interactions: Interactions,
        users: I64,
        items: I64,
        strength: npt.NDArray[np.float32],
        known: Mask,
    ) -> Learnable:
        """The events to be learnt, with histories not yet touched."""
        keep = np.flatnonzero(known)
        record = interactions.record[keep]
        return Learnable(
            users[keep],
            items[keep],
            strength[keep],
            interactions.remove[keep],
            position_hashes(records.partitions[record], records.offsets[record], interactions.part[keep]),
        )

    def _learn(self, events: Learnable, batch_seq: int) -> Changed:
        """Histories, factors and popularity, in this order."""
        model = self.model
        events = self._remember(events)
        if not len(events):
            return _nothing()
        changed = self.learner.learn(model, events)
        if len(changed.predictions):
            self.prequential.rate(changed.predictions, events)
        liked = ~events.remove & (events.strengths > 0)
        np.add.at(model.users.interactions, events.users, np.where(events.remove, -1, 1).astype(np.int32))
        np.add.at(model.items.interactions, events.items, np.where(events.remove, -1, 1).astype(np.int32))
        popularity.count(
            events.items,
            liked,
            model.items.popularity,
            model.items.popular_at,
            model.clock,
            self._evaluation.half_life_events,
        )
        model.globals["clock"][0] += len(events)
        model.users.changed_at[changed.users] = batch_seq
        model.items.changed_at[changed.items] = batch_seq
        return changed

    def _remember(self, events: Learnable) -> Learnable:
        """Bring the histories up to date, in event order; what a `remove` did not find is left out."""
        model = self.model
        ordinals = model.users.ordinals[events.users].astype(np.int64)
        strength, keep = events.strengths.copy(), np.ones(len(events), np.bool_)
        start = 0
        for i in [*np.flatnonzero(events.remove).tolist(), len(events)]:
            model.users.append(events.users[start:i], events.items[start:i], strength[start:i])
            if self.learner.keeps_item_history:
                model.items.append(events.items[start:i], ordinals[start:i], strength[start:i])
            if i < len(events):
                strength[i] = self._forget(int(events.users[i]), int(events.items[i]), int(ordinals[i]))
                keep[i] = not np.isnan(strength[i])
            start = i + 1
        return Learnable(
            events.users[keep],
            events.items[keep],
            strength[keep],
            events.remove[keep],
            events.positions[keep],
        )

    def _forget(self, user: int, item: int, user_ordinal: int) -> float:
        """Take the latest such interaction out of both histories; its strength, NaN if neither has it.

        Histories are bounded, so one side may remember what the other does not.
        """
        of_user = self.model.users.remove(user, item)
        if not self.learner.keeps_item_history:
            return of_user
        of_item = self.model.items.remove(item, user_ordinal)
        return of_item if np.isnan(of_user) else of_user

    def _pack(self, changed: Changed) -> tuple[Rows, ...]:
        names = ("counts", "clock", *self.learner.globals_changed) if len(changed.users) else ()
        return self.model.pack(changed.users, changed.items, names)


def _user_spans(interactions: Interactions) -> Spans:
    return interactions.buffer, interactions.user_start, interactions.user_length, interactions.user_hash


def _item_spans(interactions: Interactions) -> Spans:
    return interactions.buffer, interactions.item_start, interactions.item_length, interactions.item_hash


def _nothing() -> Changed:
    none = np.zeros(0, np.int64)
    return Changed(none, none, {}, np.zeros(0, np.float64))
