"""One model on one store: recovery, micro-batches, flushes. Service, replay and verification all run this."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import xxhash

from state import kinds
from state.errors import RowsExhaustedError, StoreCorruptError
from state.model import Model
from state.store import (
    CONTROL_MEMO,
    PREQUENTIAL_MEMO,
    Commit,
    Flush,
    OutboxRecord,
    Rows,
    TopicPartition,
    Writer,
)
from stream import control
from stream.config import LearnerSettings
from stream.dead_letters import dead_letters
from stream.evaluation.prequential import Prequential
from stream.events import Decoded, Interactions, Records, Rejected, by_partition
from stream.intake.decode import Decoder
from stream.learning.learner import create_learner
from stream.residency import Residency
from stream.step import Step

BATCH = "batch"
"""Kind of the schedule entry of a micro-batch."""

FLUSH_SLICE_ROWS = 2_000
"""Least number of rows that a flush writes between two micro-batches."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one micro-batch was made of."""

    batch_seq: int
    records: int
    counts: Mapping[str, int]


class Engine:
    """The model in memory, kept in step with its store."""

    def __init__(self, settings: LearnerSettings, store: Writer) -> None:
        """Load the model: items and global arrays from the row family, then the journal after it."""
        self.settings, self.store = settings, store
        state, learning = settings.state, settings.learning
        self.model = Model(
            learning.rank, state.rows_max, state.items_max, state.history_max, settings.decode.event_ids_kept
        )
        self.prequential = Prequential(settings.prequential, learning)
        self.learner = create_learner(settings)
        self.step = Step(self.model, self.learner, self.prequential, learning, settings.als.recency)
        self._decoder = Decoder(settings.decode, settings.topics.framing)
        self._residency = Residency(self.model, store)
        self._version = version("livefactor")
        self._flush: Flush | None = None
        self._flush_slice = FLUSH_SLICE_ROWS
        self._recover()

    def _recover(self) -> None:
        head = self.store.head()
        for kind in kinds.KINDS:
            if kind.resident:
                for rows in self.store.scan(kind.code):
                    self.model.apply(rows)
        self._first_new = self.model.next_ordinals
        self._dirty_rows = 0
        recovered = head.flushed_through
        for entry in self.store.journal(head.flushed_through):
            recovered = entry.batch_seq
            self._dirty_rows += sum(map(len, entry.rows))
            self.model.follow(entry)
        self.model.count_recent()
        if recovered != head.batch_seq:
            raise StoreCorruptError(
                f"rows can be restored through micro-batch {recovered}, the offsets stand at "
                f"{head.batch_seq}: part of the store is lost; restore a checkpoint from versions/, or "
                "delete the store and relearn"
            )
        if PREQUENTIAL_MEMO in head.memo:
            self.prequential.restore(head.memo[PREQUENTIAL_MEMO])
        self._set_control(control.Control.restore(head.memo.get(CONTROL_MEMO, b"")))

    def process(self, polled: Sequence[Records]) -> Report:
        """Learn what was polled and commit it: one micro-batch, or several if its rows do not fit together.

        Commands come first; interactions follow, ordered by partition and offset. A single record that
        needs more rows than fit goes to the dead letters.
        """
        batch_seq = self.store.head().batch_seq + 1
        decoded = [(records, self._decode(records)) for records in polled]
        for _, found in decoded:
            try:
                self._make_resident(found.interactions, batch_seq)
            except RowsExhaustedError as error:
                self._residency.unpin(batch_seq)
                return self._process_apart(polled, error)
        return self._commit(decoded, batch_seq)

    def _process_apart(self, polled: Sequence[Records], error: RowsExhaustedError) -> Report:
        """Half of the interactions, then the other half."""
        control_topic = self.settings.topics.control
        commands = [records for records in polled if records.topic == control_topic]
        (records,) = (records for records in polled if records.topic != control_topic)
        if len(records) == 1:
            reason = f"the record alone needs more rows than fit: {error}"
            nothing = self._decoder.decode(records[:0]).interactions
            refused = Decoded(nothing, (Rejected(0, "learn", reason, "rows_exhausted"),), 0)
            rest = [(each, self._decode(each)) for each in commands]
            return self._commit([*rest, (records, refused)], self.store.head().batch_seq + 1)
        half = len(records) // 2
        first = self.process([*commands, records[:half]])
        second = self.process([records[half:]])
        counts = Counter(first.counts)
        counts.update(second.counts)
        return Report(second.batch_seq, first.records + second.records, counts)

    def _decode(self, records: Records) -> Decoded:
        """Interactions of the interactions topic; of other topics none."""
        is_control = records.topic == self.settings.topics.control
        return self._decoder.decode(records[:0] if is_control else records)

    def _commit(self, decoded: Sequence[tuple[Records, Decoded]], batch_seq: int) -> Report:
        """Learn decoded records whose rows are resident, and write everything at once."""
        outbox: list[OutboxRecord] = []
        memo: dict[str, bytes] = {}
        rows: tuple[Rows, ...] = ()
        counts: Counter[str] = Counter()
        topics = self.settings.topics
        polled = [records for records, _ in decoded]
        for records, found in sorted(decoded, key=lambda each: each[0].topic != topics.control):
            if records.topic == topics.control:
                outbox += self._command(records, batch_seq, memo)
            else:
                rows, letters = self._learn(records, found, batch_seq, counts)
                outbox += letters
                if self.prequential.take_changed():
                    memo[PREQUENTIAL_MEMO] = self.prequential.pack()
        ranges = [found for records in polled for found in _ranges(records)]
        self.store.commit(
            Commit(
                batch_seq,
                rows,
                {TopicPartition(topic, partition): following for topic, partition, _, following in ranges},
                {"kind": BATCH, "ranges": sorted(ranges), "rows": rows_hash(rows)},
                memo,
                tuple(outbox),
            )
        )
        changed = sum(map(len, rows))
        self._dirty_rows += changed
        self._flush_slice = max(FLUSH_SLICE_ROWS, 2 * changed)
        return Report(batch_seq, sum(map(len, polled)), counts)

    def _learn(
        self, records: Records, decoded: Decoded, batch_seq: int, counts: Counter[str]
    ) -> tuple[tuple[Rows, ...], list[OutboxRecord]]:
        outcome = self.step(records, decoded.interactions, batch_seq)
        rejected = (*decoded.rejected, *outcome.rejected)
        counts.update(outcome.counts)
        counts["key_mismatches"] += decoded.key_mismatches
        counts["rejected"] += len(rejected)
        return outcome.rows, list(dead_letters(records, rejected, self.settings.topics.dlq, self._version))

    def _make_resident(self, interactions: Interactions, batch_seq: int) -> None:
        """Bring in every row the step will read; a flush makes room if changed rows fill the bound."""
        try:
            self._load(interactions, batch_seq)
        except RowsExhaustedError:
            self.flush()
            self._load(interactions, batch_seq)

    def _load(self, interactions: Interactions, batch_seq: int) -> None:
        buffer = interactions.buffer
        created = self._residency.by_id(
            buffer, interactions.user_start, interactions.user_length, interactions.user_hash, batch_seq
        )
        if self.learner.keeps_item_history and not self._residency.complete:
            items = self.model.items.find(
                buffer, interactions.item_start, interactions.item_length, interactions.item_hash
            )
            _, users, _ = self.model.items.histories(np.unique(items[items >= 0]))
            self._residency.by_ordinal(users, created, batch_seq)

    def _command(self, records: Records, batch_seq: int, memo: dict[str, bytes]) -> list[OutboxRecord]:
        commands, rejected = control.parse(records)
        topics = self.settings.topics
        state, answers = control.carry_out(
            self.control, commands, self.settings.model.name, topics.drift, batch_seq
        )
        self._set_control(state)
        memo[CONTROL_MEMO] = state.pack()
        return [*answers, *dead_letters(records, rejected, topics.dlq, self._version)]

    def _set_control(self, state: control.Control) -> None:
        self.control = state
        self.step.frozen = self.settings.learning.freeze or state.frozen

    @property
    def flushing(self) -> bool:
        """Whether a flush has begun and not ended."""
        return self._flush is not None

    def flush_is_due(self) -> bool:
        """Whether so much has changed since the last flush that another must begin, whatever the time."""
        state = self.settings.state
        if self._dirty_rows >= state.dirty_rows_max:
            self._dirty_rows = self.model.changed_count(self.store.head().flushed_through)
        return self._dirty_rows >= state.dirty_rows_max or self.store.journal_bytes >= state.journal_bytes_max

    def begin_flush(self) -> None:
        """Pack what changed since the last flush; `advance_flush` writes it bit by bit."""
        head = self.store.head()
        if head.batch_seq == head.flushed_through:
            return
        rows = self.model.changed_since(head.flushed_through)
        self._flush = self.store.begin_flush(rows, self._first_new, head.batch_seq)
        self._first_new_next = self.model.next_ordinals
        self._dirty_rows = 0

    def advance_flush(self) -> None:
        """Write the next slice of a flush that has begun."""
        if self._flush is not None and self._flush.advance(self._flush_slice):
            self._flush = None
            self._first_new = self._first_new_next

    def flush(self) -> None:
        """Bring the row family up to the head, and see it done."""
        while self.flushing:
            self.advance_flush()
        self.begin_flush()
        while self.flushing:
            self.advance_flush()


def rows_hash(rows: Sequence[Rows]) -> str:
    """What a micro-batch wrote, as 16 hexadecimal digits: tells where a verification first differs."""
    total = xxhash.xxh3_64()
    for block in rows:
        total.update(bytes([block.kind]))
        total.update(block.ordinals.tobytes())
        total.update(block.data.tobytes())
    return total.hexdigest()


def _ranges(records: Records) -> list[tuple[str, int, int, int]]:
    """(topic, partition, first offset, next offset) of each partition in a batch."""
    return [
        (partition.topic, partition.partition, int(part.offsets[0]), int(part.offsets[-1]) + 1)
        for partition, part in by_partition(records)
    ]
