"""One model on one store: recovery, micro-batches, flushes. Service, replay and verification all run this."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import xxhash

from protos.events_pb2 import DriftEvent
from state import kinds
from state.errors import RowsExhaustedError, StoreCorruptError
from state.model import Model
from state.store import CONTROL_MEMO, PREQUENTIAL_MEMO, Commit, Flush, Rows, TopicPartition, Writer
from stream.config import LearnerSettings
from stream.control import Control, ControlHandler, Offsets, offsets_in
from stream.drift.monitor import Monitor
from stream.effects import Counts, Effects, Handler
from stream.evaluation.prequential import Prequential, earlier_ratings_seen
from stream.events import Records, by_partition
from stream.interactions import InteractionsHandler
from stream.learning.learner import create_learner
from stream.residency import Residency
from stream.step import Step

BATCH = "batch"
"""Kind of the schedule entry of a micro-batch."""

FLUSH_SLICE_ROWS = 2_000
"""Least number of rows that a flush writes between two micro-batches."""


@dataclass(frozen=True, slots=True)
class Report:
    """What micro-batches up to `batch_seq` were made of, and the drift events that came of them.

    `rewound`: the state stands at earlier offsets than before; the log is to be read from there.
    """

    batch_seq: int
    records: int = 0
    counts: Counts = field(default_factory=Counts)
    drift: tuple[DriftEvent, ...] = ()
    rewound: bool = False

    def __add__(self, later: "Report") -> "Report":
        return Report(
            later.batch_seq,
            self.records + later.records,
            self.counts + later.counts,
            self.drift + later.drift,
            later.rewound,
        )


class Engine:
    """The model in memory, kept in step with its store."""

    def __init__(self, settings: LearnerSettings, store: Writer, app_version: str = "unknown") -> None:
        """Load the model: resident kinds from the row family, then the journal after it.

        `app_version` is for the headers of dead letters.
        """
        self.settings, self.store = settings, store
        state, learning = settings.state, settings.learning
        self.model = Model(
            learning.rank, state.rows_max, state.items_max, state.history_max, settings.decode.event_ids_kept
        )
        self.prequential = Prequential(settings.prequential, learning, blends=settings.blends)
        self.monitor = Monitor(self.prequential, self.model, settings, store.head().generation)
        self.step = Step(self.model, create_learner(settings), self.monitor, settings)
        self._flush: Flush | None = None
        self._flush_slice = FLUSH_SLICE_ROWS
        self._recover()
        residency = Residency(self.model, store)
        self._interactions = InteractionsHandler(
            settings, self.step, residency, self.monitor, self.flush, app_version
        )
        stored = Control.restore(store.head().memo.get(CONTROL_MEMO, b""))
        self._control = ControlHandler(settings, stored, self._here, self._obey, app_version)
        self._handlers: tuple[Handler, ...] = (self._control, self._interactions)

    @property
    def control(self) -> Control:
        """What commands have set."""
        return self._control.state

    @property
    def outgrown(self) -> bool:
        """Whether it is time to keep a version to compare with; never while nothing is learnt.

        Those from before would have to make room for versions that are all the same.
        """
        return self.monitor.outgrown and not self.step.frozen

    def _obey(self, control: Control) -> None:
        self.step.frozen = self.settings.learning.freeze or not control.learns
        self.monitor.seen_through = control.seen_through
        self._interactions.excluded = control.excluded

    def _here(self, moved: Mapping[TopicPartition, int] = MappingProxyType({})) -> Offsets:
        """Where the state stands in the interactions, once it has moved to these offsets."""
        return offsets_in(self.settings.topics.interactions, {**self.store.head().offsets, **moved})

    def begin_reading(self, offsets: Mapping[TopicPartition, int], *, anew: bool) -> Mapping[str, bytes]:
        """Memos of a run that begins there, where the log of interactions is read `anew` or goes on."""
        return self._control.begin(self._here(offsets), anew=anew).memo

    def _recover(self) -> None:
        head = self.store.head()
        self.model.load(self.store, [kind.code for kind in kinds.KINDS if kind.resident])
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
        self.monitor.restore(head.memo)
        if earlier := earlier_ratings_seen(head.memo.get(PREQUENTIAL_MEMO, b"{}")):
            self.model.globals["ratings_seen"][:] = earlier

    def process(self, polled: Sequence[Records], recorded: Mapping[str, Any] | None = None) -> Report:
        """Learn what was polled and commit it: a micro-batch a topic, or several if its rows do not fit.

        Topics act in the order of their handlers, commands first; each topic's records are ordered by
        partition and offset. Where a command makes interactions be read from another place, what was polled
        of them is left. With `recorded`, a schedule entry, learning pauses and goes on as that says: what was
        decided then may rest on evidence that a replay has not.
        """
        report = Report(self.store.head().batch_seq)
        topics = [handler.topic for handler in self._handlers]
        for records in sorted(polled, key=lambda each: topics.index(each.topic)):
            if not report.rewound:
                report += self._process(self._handlers[topics.index(records.topic)], records, recorded)
        return report

    def _process(self, handler: Handler, records: Records, recorded: Mapping[str, Any] | None) -> Report:
        """Learn in two micro-batches what does not fit into one; a record that fits into none is rejected."""
        try:
            act = handler.prepare(records, self.store.head().batch_seq + 1)
        except RowsExhaustedError as error:
            half, reason = len(records) // 2, error
            if not half:
                return self._commit(records, lambda: handler.reject(records, reason), recorded)
            first = self._process(handler, records[:half], recorded)
            return first + self._process(handler, records[half:], recorded)
        return self._commit(records, act, recorded)

    def _commit(
        self, records: Records, act: Callable[[], Effects], recorded: Mapping[str, Any] | None
    ) -> Report:
        """Let prepared records act, and write everything at once."""
        batch_seq = self.store.head().batch_seq + 1
        effects = act()
        ranges = _ranges(records)
        offsets = {TopicPartition(topic, partition): following for topic, partition, _, following in ranges}
        interactions = self.settings.topics.interactions
        offsets |= {TopicPartition(interactions, partition): at for partition, at in effects.rewind.items()}
        if self.control.seen_through:
            effects += self._control.reach(self._here(offsets))
        pause = effects.pause if recorded is None else recorded.get("pause")
        decided = {}
        if pause is not None and pause != self.control.paused:
            decided = {"pause": pause}
            effects += self._control.pause(pause, self._here(offsets))
        self.store.commit(
            Commit(
                batch_seq,
                effects.rows,
                offsets,
                {"kind": BATCH, "ranges": sorted(ranges), "rows": rows_hash(effects.rows), **decided},
                effects.memo,
                effects.outbox,
            )
        )
        changed = sum(map(len, effects.rows))
        self._dirty_rows += changed
        self._flush_slice = max(FLUSH_SLICE_ROWS, 2 * changed)
        rewound = bool(effects.rewind)
        return Report(batch_seq, len(records), effects.counts, effects.drift, rewound)

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
    """What a micro-batch wrote, as 16 hexadecimal digits: tells where a verification first differs.

    Without the kinds that are not digested.
    """
    total = xxhash.xxh3_64()
    digested = {code for kind in kinds.KINDS if kind.digested for code in kind.codes}
    for block in rows:
        if block.kind not in digested:
            continue
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
