"""The interactions topic: decode, make rows resident, learn; what cannot be used goes to the dead letters.

What is excluded is passed over unread.
"""

from collections.abc import Callable, Sequence

import numpy as np

from state.arrays import I64
from state.errors import RowsExhaustedError
from stream import exclusion
from stream.config import LearnerSettings
from stream.dead_letters import dead_letters
from stream.drift.monitor import Monitor
from stream.effects import Counts, Effects
from stream.events import Decoded, Interactions, Records, Rejected
from stream.intake.decode import Decoder
from stream.residency import Residency
from stream.step import Step


class InteractionsHandler:
    """Implements `stream.effects.Handler`."""

    def __init__(
        self,
        settings: LearnerSettings,
        step: Step,
        residency: Residency,
        monitor: Monitor,
        make_room: Callable[[], None],
        app_version: str,
    ) -> None:
        """`make_room` flushes, so that rows may leave memory which had changed."""
        self.topic = settings.topics.interactions
        self._step, self._residency, self._monitor = step, residency, monitor
        self._make_room = make_room
        self._decoder = Decoder(settings.decode, settings.topics.framing)
        self._dlq, self._app_version = settings.topics.dlq, app_version
        self.excluded: exclusion.Ranges = {}

    def prepare(self, records: Records, batch_seq: int) -> Callable[[], Effects]:
        """Decode, and bring in every row that learning will read."""
        left_out = 0
        if self.excluded:
            excluded = exclusion.within(self.excluded, records.partitions, records.offsets)
            left_out, records = int(excluded.sum()), records.without(excluded)
        if not len(records):
            return lambda: Effects(counts=Counts(excluded=left_out))
        decoded = self._decoder.decode(records)
        try:
            users = self._load(decoded.interactions, batch_seq)
        except RowsExhaustedError:
            self._make_room()
            try:
                users = self._load(decoded.interactions, batch_seq)
            except RowsExhaustedError:
                self._residency.unpin(batch_seq)
                raise
        return lambda: (
            self._learn(records, decoded, users, batch_seq) + Effects(counts=Counts(excluded=left_out))
        )

    def reject(self, record: Records, error: RowsExhaustedError) -> Effects:
        """It goes to the dead letters."""
        reason = f"the record alone needs more rows than fit: {error}"
        return self._rejected(record, (Rejected(0, "learn", reason, "rows_exhausted"),))

    def _load(self, interactions: Interactions, batch_seq: int) -> I64:
        """Slots of the users, -1 for those that learning may create."""
        model = self._step.model
        slots, created = self._residency.by_id(*interactions.user_spans, batch_seq)
        if self._step.learner.keeps_item_history and not self._residency.complete:
            items = model.items.find(*interactions.item_spans)
            _, users, _ = model.items.histories(np.unique(items[items >= 0]))
            self._residency.by_ordinal(users, created, batch_seq)
        return slots

    def _learn(self, records: Records, decoded: Decoded, users: I64, batch_seq: int) -> Effects:
        outcome = self._step(records, decoded.interactions, users, batch_seq)
        rejected = (*decoded.rejected, *outcome.rejected)
        counts = outcome.counts + Counts(
            key_mismatches=decoded.key_mismatches, doubtful_types=decoded.doubtful_types
        )
        concluded = self._monitor.conclude(batch_seq, records, rejected, counts)
        again = self._monitor.seen(records.partitions, records.offsets)
        untold = [rejection for rejection in decoded.rejected if not again[rejection.record]]
        counts += Counts(rejected=len(decoded.rejected) - len(untold))
        letters = self._rejected(records, (*untold, *outcome.rejected))
        return Effects(outcome.rows, counts=counts) + concluded + letters

    def _rejected(self, records: Records, rejected: Sequence[Rejected]) -> Effects:
        letters = dead_letters(records, rejected, self._dlq, self._app_version)
        return Effects(outbox=letters, counts=Counts(rejected=len(rejected)))
