"""The pure pipeline: one micro-batch of interactions in, what to commit out.

    duplicates out -> what each means -> rows for new users and items
        -> walk over the events: predict (prequential), then learn -> what changed

No clock, no randomness, no I/O: the same batch on the same model gives the same bits.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from state.arrays import F32, F64, I64, Mask
from state.model import Model
from state.neighbour_rows import pack_steps
from state.store import Rows
from stream.admission import create_rows, duplicates, without_room
from stream.config import LearnerSettings
from stream.effects import Counts
from stream.events import Changed, Interactions, Learnable, Origins, Records, Rejected
from stream.learning import als
from stream.learning.implicit_sgd import Descent, Sampling
from stream.learning.learner import Learner, refusals
from stream.learning.meaning import strengths
from stream.learning.sgd import Rates
from stream.sampling import position_hashes, sampled
from stream.walk.values import Chosen, Comparison, Options, Walked
from stream.walk.walk import LEARN_EVERY, Walk

BLENDED_GLOBALS = (
    "recent",
    "recent_state",
    "weights",
    "curvature",
    "newcomer_weights",
    "newcomer_curvature",
)
"""What the ranking score learns beside rows."""

NO_PENALTIES = als.Penalties(0.0, 0.0, 0.0, 0.0, False)
NO_DESCENT = Descent(Rates(0.0, 0.0, 0.0, 0.0, False, 0.0, 0.0, False), Sampling(0, 0.0, 0))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a micro-batch did: rows to commit, records to reject, and counts."""

    rows: tuple[Rows, ...]
    rejected: tuple[Rejected, ...]
    counts: Counts


class Evaluator(Protocol):
    """Decides what is judged before it is learnt, and hears what came of it.

    `calibrations` float64 [models, 3] are those of as many of `stream.walk.values.MODELS` as are judged, and
    learn in place, as do those of the `comparison`; `cold`: see `stream.walk.values.Chosen`.
    """

    cold: bool

    @property
    def calibrations(self) -> F64:
        """Of the models that are judged."""
        ...

    @property
    def comparison(self) -> Comparison:
        """With whom the live model is compared."""
        ...

    def sample(self, model: Model, events: Learnable, origins: Origins) -> Mask:
        """Which events are to be ranked, if they are likes: bool [n]."""
        ...

    def record(
        self, walked: Walked, events: Learnable, origins: Origins, learnt: Learnable, predictions: F64
    ) -> None:
        """How a batch of events was ranked, and what was predicted of those learnt: float64 [m], or [0]."""
        ...


class Step:
    """One model and everything that changes it."""

    def __init__(
        self,
        model: Model,
        learner: Learner,
        evaluator: Evaluator,
        settings: LearnerSettings,
    ) -> None:
        self.model, self.learner, self._evaluator = model, learner, evaluator
        self._learning = settings.learning
        self.walk = Walk(model, _options(settings, learner))
        blended = BLENDED_GLOBALS if settings.blends else ()
        self._globals_changed = ("counts", "clock", *learner.globals_changed, *blended)
        self.frozen = settings.learning.freeze

    def __call__(self, records: Records, interactions: Interactions, users: I64, batch_seq: int) -> Outcome:
        """Learn one batch, and say what to commit.

        `users` int64 [n] are the slots of the interactions' users, -1 for those that do not exist; users in
        touched items' histories are resident too.
        """
        changed, rejected, counts = self.learn(records, interactions, users, batch_seq)
        return Outcome(self._pack(changed), rejected, counts)

    def learn(
        self,
        records: Records,
        interactions: Interactions,
        users: I64,
        batch_seq: int,
        ends: I64 | None = None,
    ) -> tuple[Changed, tuple[Rejected, ...], Counts]:
        """Learn one batch: rows that changed, records to reject, and counts.

        With `ends` int64 [m] it is not one micro-batch: one ends after each of these numbers of interactions,
        and what follows the last is the beginning of another.
        """
        model = self.model
        strength, meaningful = strengths(interactions, self._learning)
        wanted = meaningful | interactions.remove
        rejected = () if self.frozen else without_room(model, interactions, wanted)
        admitted = ~np.isin(interactions.record, [rejection.record for rejection in rejected])
        duplicate = duplicates(model, records, interactions, admitted, learns=not self.frozen)
        wanted &= admitted & ~duplicate
        changed, learnt = _nothing(), 0
        if ends is None:
            ends = np.array([len(interactions)], np.int64)
            # What is measured must not depend on how long this process has been running.
            self.walk.forget_scalars()
        if wanted.any() or self.walk.is_due:
            born = model.user_count, model.item_count
            creating = wanted & ~interactions.remove & (not self.frozen)
            users, items = create_rows(model, self.learner, interactions, users, creating, batch_seq)
            known = np.flatnonzero(wanted & (users >= 0) & (items >= 0))
            origins = _origins(model, records, interactions, users, known)
            events = _learnable(interactions, origins, users, items, strength, known)
            clock = model.clock
            changed = self._learn(events, origins, batch_seq, born, np.searchsorted(known, ends))
            learnt = model.clock - clock
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

    def _learn(
        self, events: Learnable, origins: Origins, batch_seq: int, born: tuple[int, int], ends: I64
    ) -> Changed:
        """Walk over the events, then learn what that has not; which rows changed."""
        model = self.model
        teaches = sampled(events.positions, LEARN_EVERY, self._learning.seed + 1)
        recalled = None if self.frozen else self.learner.recall(model, events)
        chosen = Chosen(self._evaluator.sample(model, events, origins), teaches, self._evaluator.cold)
        judges = self._evaluator.calibrations, self._evaluator.comparison
        walked = self.walk(events, chosen, *judges, born, ends, learns=not self.frozen)
        learnt = _kept(events, walked)
        learns = len(learnt.users) and not self.frozen
        changed = self.learner.learn(model, learnt, recalled) if learns else _nothing()
        if self.learner.descent is not None:
            # Negatives have moved too.
            changed = replace(changed, items=np.union1d(changed.items, np.flatnonzero(walked.touched)))
        self._evaluator.record(walked, events, origins, learnt, changed.predictions)
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
        names = self._globals_changed if len(changed.users) else ()
        if changed.neighbours is not None:
            self.model.neighbours.mark(changed.neighbours)
        return self.model.pack(changed.users, changed.items, names)


def _options(settings: LearnerSettings, learner: Learner) -> Options:
    return Options(
        settings.blends,
        learner.penalties is not None,
        learner.descent is not None,
        settings.learning.feedback == "explicit",
        learner.keeps_item_history,
        settings.ranking.repeats,
        settings.als.recency,
        learner.penalties or NO_PENALTIES,
        learner.descent or NO_DESCENT,
        settings.learning.seed,
    )


def _learnable(
    interactions: Interactions,
    origins: Origins,
    users: I64,
    items: I64,
    strength: F32,
    keep: I64,
) -> Learnable:
    """The interactions `keep` int64 [n], which have these origins."""
    return Learnable(
        users[keep],
        items[keep],
        strength[keep],
        interactions.remove[keep],
        position_hashes(origins.partitions, origins.offsets, interactions.part[keep]),
        interactions.time_ms[keep],
    )


def _origins(model: Model, records: Records, interactions: Interactions, users: I64, keep: I64) -> Origins:
    """Of the interactions `keep` int64 [n]; `users` are slots of all interactions' users."""
    record = interactions.record[keep]
    ordinals = model.users.index.ordinals[users[keep]]
    return Origins(
        ordinals,
        records.partitions[record],
        records.offsets[record],
        interactions.value[keep],
        interactions.weight[keep],
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
