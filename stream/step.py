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
from stream.events import I64, Changed, Interactions, Learnable, Records, Rejected
from stream.learner import Learner
from stream.meaning import strengths
from stream.prequential import Prequential, position_hashes

Mask = npt.NDArray[np.bool_]


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
        """Learn one batch. Users of the batch that exist are resident, and so are those in touched items' histories."""
        counts: Counter[str] = Counter(events=len(interactions))
        fresh = ~self._duplicates(records, interactions)
        strength, meaningful = strengths(interactions, self._learning)
        wanted = fresh & (meaningful | interactions.remove)
        counts["duplicates"] = int((~fresh).sum())
        counts["not_learnt"] = int((fresh & ~wanted).sum())
        rejected: tuple[Rejected, ...] = ()
        changed = _nothing()
        if not self.frozen and wanted.any():
            users, items, rejected = self._rows_of(interactions, wanted, batch_seq)
            known = (users >= 0) & (items >= 0)
            events = self._learnable(records, interactions, users, items, strength, known)
            self.prequential.score(self.model, events)
            changed = self._learn(events, batch_seq)
            counts["learnt"] = len(events)
            counts.update({f"refused_{reason}": n for reason, n in changed.refused.items()})
        elif self.frozen:
            counts["frozen"] = int(wanted.sum())
        return Outcome(self._pack(changed), rejected, counts)

    def _duplicates(self, records: Records, interactions: Interactions) -> Mask:
        """Events whose idempotency key was seen before in their partition."""
        duplicate = np.zeros(len(interactions), np.bool_)
        if interactions.event_id.any():
            partitions = records.partitions[interactions.record]
            for partition in np.unique(partitions).tolist():
                of_partition = np.flatnonzero(partitions == partition)
                duplicate[of_partition] = self.model.event_ids.admit(
                    partition, interactions.event_id[of_partition]
                )
        return duplicate

    def _rows_of(
        self, interactions: Interactions, wanted: Mask, batch_seq: int
    ) -> tuple[I64, I64, tuple[Rejected, ...]]:
        """Slots of users and items, created where they are new; -1 where an event is not to be learnt."""
        model = self.model
        buffer = interactions.buffer
        item_spans = (buffer, interactions.item_start, interactions.item_length, interactions.item_hash)
        user_spans = (buffer, interactions.user_start, interactions.user_length, interactions.user_hash)
        creating = wanted & ~interactions.remove
        room = model.items_max - model.item_count
        items, full = self._slots(model.items, 1, item_spans, creating, room, batch_seq)
        users, _ = self._slots(model.users, 0, user_spans, creating & ~full, model.users.capacity, batch_seq)
        users[~wanted] = -1
        rejected = tuple(
            Rejected(
                record,
                "learn",
                f"the item is new and the catalogue is full with {model.items_max} items: raise `state.items_max`, "
                "then replay the dead letters",
                "catalogue_full",
            )
            for record in np.unique(interactions.record[full]).tolist()
        )
        return users, items, rejected

    def _slots(
        self,
        table: Table,
        counter: int,
        spans: tuple[npt.NDArray[np.generic], ...],
        creating: Mask,
        room: int,
        batch_seq: int,
    ) -> tuple[I64, Mask]:
        """Slots of ids, new rows being made in event order for those of `creating`, up to `room` of them.

        Also which events found no room.
        """
        buffer, start, length, hashes = spans
        slots = table.find(buffer, start, length, hashes)  # type: ignore[arg-type]
        first = np.empty(len(slots), np.int64)
        maps.distinct_spans(buffer, start, length, hashes, creating & (slots < 0), first)
        new = np.flatnonzero(first == np.arange(len(first)))
        refused, new = new[room:], new[:room]
        if len(new):
            counts = self.model.globals["counts"]
            ordinals = counts[counter] + np.arange(len(new))
            added = table.add(buffer, start[new], length[new], hashes[new], ordinals)  # type: ignore[arg-type]
            counts[counter] += len(new)
            table.touched_at[added] = batch_seq
            self.learner.start(self.model, table, added, hashes[new])  # type: ignore[arg-type]
            slot_of = np.full(len(first), -1, np.int64)
            slot_of[new] = added
            missing = np.flatnonzero(first >= 0)
            slots[missing] = slot_of[first[missing]]
        return slots, np.isin(first, refused) if len(refused) else np.zeros(len(slots), np.bool_)

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
                strength[i] = model.users.remove(int(events.users[i]), int(events.items[i]))
                keep[i] = not np.isnan(strength[i])
                if self.learner.keeps_item_history:
                    model.items.remove(int(events.items[i]), int(ordinals[i]))
            start = i + 1
        return Learnable(
            events.users[keep],
            events.items[keep],
            strength[keep],
            events.remove[keep],
            events.positions[keep],
        )

    def _pack(self, changed: Changed) -> tuple[Rows, ...]:
        names = ("counts", "clock", *self.learner.globals_changed) if len(changed.users) else ()
        return self.model.pack(changed.users, changed.items, names)


def _nothing() -> Changed:
    none = np.zeros(0, np.int64)
    return Changed(none, none, {}, np.zeros(0, np.float64))
