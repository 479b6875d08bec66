"""The pure pipeline: one micro-batch of interactions in, what to commit out.

    duplicates out -> what each means -> rows for new users and items
        -> walk over the events: predict (prequential), then learn -> what changed

No clock, no randomness, no I/O: the same batch on the same model gives the same bits.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from state import maps
from state.arrays import F32, F64, I32, I64, U8, U64, Mask
from state.factors import FactorTable
from state.model import Model
from state.neighbour_rows import pack_steps
from state.store import Rows
from stream.config import LearningConfig
from stream.effects import Counts
from stream.events import Changed, Interactions, Learnable, Records, Rejected
from stream.learning import als
from stream.learning.learner import Learner, refusals
from stream.learning.meaning import strengths
from stream.sampling import position_hashes, sampled
from stream.walk.values import Options, Walked
from stream.walk.walk import LEARN_EVERY, Walk

Spans = tuple[U8, I64, I32, U64]
"""Ids: a buffer, where each begins, how long it is, and its hash."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a micro-batch did: rows to commit, records to reject, and counts."""

    rows: tuple[Rows, ...]
    rejected: tuple[Rejected, ...]
    counts: Counts


class Evaluator(Protocol):
    """Decides what is judged before it is learnt, and hears what came of it.

    `calibrations` float64 [models, 3] are those of `stream.walk.values.MODELS`, which learn in place.
    """

    calibrations: F64

    def sample(self, model: Model, events: Learnable) -> Mask:
        """Which events are to be ranked, if they are likes of warm users and items: bool [n]."""
        ...

    def record(self, walked: Walked, predictions: F64, learnt: Learnable) -> None:
        """How a batch was ranked, and what was predicted of the events learnt: float64 [m], or [0]."""
        ...


class Step:
    """One model and everything that changes it."""

    def __init__(
        self,
        model: Model,
        learner: Learner,
        evaluator: Evaluator,
        learning: LearningConfig,
        recency: float,
    ) -> None:
        """`recency` is `als.recency`."""
        self.model, self.learner, self._evaluator = model, learner, evaluator
        self._learning = learning
        self._walk = Walk(model, _options(learning, learner, recency))
        self.frozen = learning.freeze

    def __call__(self, records: Records, interactions: Interactions, batch_seq: int) -> Outcome:
        """Learn one batch, and say what to commit.

        Users of the batch that exist are resident, and so are those in touched items' histories.
        """
        changed, rejected, counts = self.learn(records, interactions, batch_seq)
        return Outcome(self._pack(changed), rejected, counts)

    def learn(
        self, records: Records, interactions: Interactions, batch_seq: int, ends: I64 | None = None
    ) -> tuple[Changed, tuple[Rejected, ...], Counts]:
        """Learn one batch: rows that changed, records to reject, and counts.

        With `ends` int64 [m] it is not one micro-batch: one ends after each of these numbers of interactions,
        and what follows the last is the beginning of another.
        """
        strength, meaningful = strengths(interactions, self._learning)
        wanted = meaningful | interactions.remove
        rejected = self._without_room(interactions, wanted)
        admitted = ~np.isin(interactions.record, [refusal.record for refusal in rejected])
        duplicate = self._duplicates(records, interactions, admitted)
        wanted &= admitted & ~duplicate
        changed, learnt = _nothing(), 0
        ends = np.array([len(interactions)], np.int64) if ends is None else ends
        if wanted.any() or self._walk.is_due:
            born = self.model.user_count, self.model.item_count
            users, items = self._rows_of(interactions, wanted, batch_seq)
            known = np.flatnonzero(wanted & (users >= 0) & (items >= 0))
            events = _learnable(records, interactions, users, items, strength, known)
            clock = self.model.clock
            changed = self._learn(events, batch_seq, born, np.searchsorted(known, ends))
            learnt = self.model.clock - clock
        frozen = int(wanted.sum()) if self.frozen else 0
        counts = Counts(
            events=len(interactions),
            duplicates=int(duplicate.sum()),
            learnt=learnt,
            frozen=frozen,
            not_learnt=int((admitted & ~duplicate).sum()) - frozen - learnt,
            refused=changed.refused,
        )
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
            "raise `state.items_max`, then `livefactor dlq resend`"
        )
        return tuple(Rejected(record, "learn", reason, "catalogue_full") for record in refused.tolist())

    def _rows_of(self, interactions: Interactions, wanted: Mask, batch_seq: int) -> tuple[I64, I64]:
        """Slots of users and items, created where learning needs new ones, else -1."""
        creating = wanted & ~interactions.remove & (not self.frozen)
        items = self._slots(self.model.items, 1, _item_spans(interactions), creating, batch_seq)
        users = self._slots(self.model.users, 0, _user_spans(interactions), creating, batch_seq)
        return users, items

    def _slots(self, table: FactorTable, counter: int, spans: Spans, creating: Mask, batch_seq: int) -> I64:
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

    def _learn(self, events: Learnable, batch_seq: int, born: tuple[int, int], ends: I64) -> Changed:
        """Walk over the events, then learn what that has not; which rows changed."""
        model = self.model
        ranked = self._evaluator.sample(model, events)
        teaches = sampled(events.positions, LEARN_EVERY, self._learning.seed + 1)
        recalled = None if self.frozen else self.learner.recall(model, events)
        calibrations = self._evaluator.calibrations
        walked = self._walk(events, ranked, calibrations, teaches, born, ends, learns=not self.frozen)
        learnt = _kept(events, walked)
        learns = len(learnt.users) and not self.frozen
        changed = self.learner.learn(model, learnt, born[1], recalled) if learns else _nothing()
        self._evaluator.record(walked, changed.predictions, learnt)
        if self.frozen:
            return changed
        steps = _steps(walked)
        model.users.changed_at[changed.users] = batch_seq
        model.items.changed_at[changed.items] = batch_seq
        if steps is not None:
            model.neighbours.changed_at[steps.ordinals] = batch_seq
        refused = {**changed.refused, **refusals(walked.refused)}
        return replace(changed, refused=refused, neighbours=steps)

    def _pack(self, changed: Changed) -> tuple[Rows, ...]:
        names = ("counts", "clock", *self.learner.globals_changed) if len(changed.users) else ()
        if changed.neighbours is not None:
            self.model.neighbours.mark(changed.neighbours)
        return self.model.pack(changed.users, changed.items, names)


def _user_spans(interactions: Interactions) -> Spans:
    return interactions.buffer, interactions.user_start, interactions.user_length, interactions.user_hash


def _item_spans(interactions: Interactions) -> Spans:
    return interactions.buffer, interactions.item_start, interactions.item_length, interactions.item_hash


def _options(learning: LearningConfig, learner: Learner, recency: float) -> Options:
    penalties = learner.penalties or als.Penalties(0.0, 0.0, 0.0, 0.0, False)
    solves = learner.penalties is not None
    return Options(
        learning.blends,
        solves,
        learner.keeps_item_history,
        learning.repeats,
        recency,
        penalties,
        learning.seed,
    )


def _learnable(
    records: Records,
    interactions: Interactions,
    users: I64,
    items: I64,
    strength: F32,
    keep: I64,
) -> Learnable:
    """The interactions `keep` int64 [n]."""
    record = interactions.record[keep]
    return Learnable(
        users[keep],
        items[keep],
        strength[keep],
        interactions.remove[keep],
        position_hashes(records.partitions[record], records.offsets[record], interactions.part[keep]),
        interactions.time_ms[keep],
    )


def _kept(events: Learnable, walked: Walked) -> Learnable:
    """The events but a `remove` that found nothing; the others have the strength they took back."""
    kept = walked.kept
    return Learnable(
        events.users[kept],
        events.items[kept],
        walked.strengths[kept],
        events.remove[kept],
        events.positions[kept],
        events.times_ms[kept],
    )


def _steps(walked: Walked) -> Rows | None:
    """The steps on lists of neighbours as rows, if there were any."""
    taken = slice(0, int(walked.steps[0]))
    columns = walked.owners[taken], walked.others[taken], walked.forward[taken], walked.backward[taken]
    return pack_steps(*columns) if walked.steps[0] else None


def _nothing() -> Changed:
    none = np.zeros(0, np.int64)
    return Changed(none, none, {}, np.zeros(0, np.float64))
