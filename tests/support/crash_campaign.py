"""One model, killed again and again under load, and everything that must hold after each kill."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from crash_learner import Order
from crash_log import Publisher, Stored, TopicReader, number_of, values_of
from crash_stream import Account

from protos.events_pb2 import COMMAND_ACTION_LEARN_MISSED, Command, CommandResult
from state.codec import EVENT_IDS, GLOBAL, ITEM, NEIGHBOURS, USER
from state.errors import StoreMissingError
from state.evidence import stored_evidence, stored_inputs
from state.factors import FactorTable
from state.model import Model
from state.ring import Entries
from state.rocksdb.reader import RocksReader
from state.store import Reader, TopicPartition
from stream.config import LearnerSettings
from stream.kafka import create_topics
from stream.lineage.verify import verify
from stream.run import open_source

PARTITIONS = 4
USERS_RESIDENT = 300
ITEMS_MAX = 700


class Campaign:
    """A store, its topics, and what has been seen of them so far."""

    def __init__(self, bootstrap: str, directory: Path, algorithm: str, seed: int) -> None:
        self.directory, self.seed = directory, seed
        directory.mkdir(parents=True, exist_ok=True)
        self.raw = _settings(bootstrap, directory / "store", algorithm, f"{algorithm}-{seed}")
        self.settings = LearnerSettings.model_validate(self.raw)
        create_topics(self.settings.kafka, self.settings.topics)
        topics = self.settings.topics
        self.publisher = Publisher(
            bootstrap, topics.interactions, topics.control, self.settings.model.name, seed
        )
        self._readers = {
            name: TopicReader(bootstrap, name)
            for name in (topics.interactions, topics.control, topics.dlq, topics.drift)
        }
        self._log: dict[TopicPartition, list[Stored]] = {}
        self.schedule: list[tuple[int, Mapping[str, Any]]] = []
        self.flushed_through = 0
        self.offsets: dict[TopicPartition, int] = {}
        self._missed_from: dict[TopicPartition, int] = {}
        state, decode = self.settings.state, self.settings.decode
        self.account = Account(state.history_max, decode.event_ids_kept, algorithm == "als")

    def order(self, name: str = "learner", **how: Any) -> Order:
        """An order for a learner of this campaign; its output goes to the log of this name."""
        return Order(self.raw, log=str(self.directory / f"{name}.log"), **how)

    def said(self) -> str:
        """The end of what the learners said."""
        path = self.directory / "learner.log"
        return path.read_text(errors="replace")[-3_000:] if path.exists() else ""

    def check(self) -> None:
        """Everything that must hold of the store of a dead learner.

        1. Nothing that was committed is gone or changed; micro-batches and offsets continue without a gap.
        2. The journal reaches from the last flush to the head.
        3. Rows, and what they say of the interactions learnt, are what the log up to the offsets makes them.
        """
        try:
            reader = RocksReader(self.settings.state.directory)
        except StoreMissingError:
            assert not self.schedule, "the store has gone"
            return
        try:
            head = reader.head()
            self._check_schedule(list(reader.schedule()), head.batch_seq)
            assert dict(head.offsets) == self.offsets
            assert self.flushed_through <= head.flushed_through <= head.batch_seq
            self.flushed_through = head.flushed_through
            entries = [entry.batch_seq for entry in reader.journal(head.flushed_through)]
            assert entries == list(range(head.flushed_through + 1, head.batch_seq + 1))
            self._check_rows(reader, head.flushed_through)
        finally:
            reader.close()

    def check_verdict(self) -> None:
        """A replay of the log under the recorded schedule gives the same digest, and the same evidence.

        No version is kept in a campaign, so that what is compared does not depend on when one was loaded.
        """
        source = open_source(self.settings)
        scratch = self.directory / f"replica-{len(self.schedule)}"
        try:
            verdict = verify(self.settings, source, scratch)
        finally:
            source.close()
        assert verdict.agrees is True, verdict
        assert verdict.batches == len(self.schedule)
        ours, again = (evidence_in(directory) for directory in (self.settings.state.directory, scratch))
        assert [ring.tobytes() for ring in ours] == [ring.tobytes() for ring in again]
        assert not ours[0]["version"].any()

    def check_outgoing(self) -> None:
        """Every poison record is a dead letter, whole and by its coordinates; every command is answered."""
        topics = self.settings.topics
        self._read_log()
        letters = values_of(self._readers[topics.dlq].read())
        expected = {
            (record.partition, record.offset): {(record.key, record.value)}
            for records in self._log.values()
            for record in records
            if number_of_is_poison(self.publisher, record)
        }
        assert letters == expected
        answers = [
            CommandResult.FromString(record.value or b"") for record in self._readers[topics.drift].read()
        ]
        assert {answer.command_id for answer in answers} == {f"c{i}" for i in range(self.publisher.commands)}
        assert all(answer.applied for answer in answers)

    def check_at_end(self) -> None:
        """Nothing in the log is left to learn."""
        topics = self.settings.topics
        for topic in (topics.interactions, topics.control):
            for partition, end in self._readers[topic].ends().items():
                assert self.offsets[TopicPartition(topic, partition)] == end
        assert sum(self.offsets.values()) == len(self.publisher.made) + self.publisher.commands

    def close(self) -> None:
        """Stop publishing and reading."""
        self.publisher.stop()
        for reader in self._readers.values():
            reader.close()

    def _check_schedule(self, schedule: list[tuple[int, Mapping[str, Any]]], batch_seq: int) -> None:
        known = len(self.schedule)
        assert schedule[:known] == self.schedule
        assert [seq for seq, _ in schedule] == list(range(1, batch_seq + 1))
        for seq, entry in schedule[known:]:
            if entry["kind"] == "start":
                positions = {TopicPartition(t, p): offset for t, p, offset in entry["positions"]}
                assert not self.offsets or positions == self.offsets, f"micro-batch {seq} starts elsewhere"
                self.offsets = positions
            else:
                self._account(seq, entry["ranges"])
        self.schedule = schedule

    def _account(self, seq: int, ranges: list[tuple[str, int, int, int]]) -> None:
        """Learn a micro-batch in the account: commands first, then by partition and offset."""
        topics = self.settings.topics
        for topic, partition, first, following in sorted(ranges, key=lambda r: (r[0] != topics.control, r)):
            where = TopicPartition(topic, partition)
            assert first == self.offsets[where] < following, f"micro-batch {seq} of {where}"
            self.offsets[where] = following
            for record in self._records(where, first, following):
                if topic == topics.control:
                    self._obey(record.value or b"")
                    continue
                for event in self.publisher.made[number_of(record)].events or ():
                    self.account.learn(partition, event)

    def _obey(self, command: bytes) -> None:
        """Freeze or resume in the account, and read what was missed again if it is to be learnt."""
        froze_before = self.account.frozen
        self.account.command(command)
        if self.account.frozen and not froze_before:
            topic = self.settings.topics.interactions
            self._missed_from = {where: at for where, at in self.offsets.items() if where.topic == topic}
        if Command.FromString(command).action == COMMAND_ACTION_LEARN_MISSED:
            self.offsets |= self._missed_from

    def _records(self, where: TopicPartition, first: int, following: int) -> list[Stored]:
        if len(self._log.get(where, ())) < following:
            self._read_log()
        return self._log[where][first:following]

    def _read_log(self) -> None:
        topics = self.settings.topics
        for topic in (topics.interactions, topics.control):
            for record in self._readers[topic].read():
                records = self._log.setdefault(TopicPartition(topic, record.partition), [])
                assert record.offset == len(records)
                records.append(record)

    def _check_rows(self, reader: RocksReader, flushed_through: int) -> None:
        model, users, items = read_model(self.settings, reader, flushed_through)
        check_model(model, self.account)
        assert (users, items) == (model.user_count, model.item_count)


def check_model(model: Model, account: Account) -> None:
    """Counts and histories of a model whose rows are all resident are those of the account."""
    assert model.clock == account.clock
    assert (model.user_count, model.item_count) == (len(account.user_history), len(account.item_history))
    names = [table_names(model.users), table_names(model.items)]
    for table, own, other, interactions, histories in (
        (model.users, names[0], names[1], account.user_interactions, account.user_history),
        (model.items, names[1], names[0], account.item_interactions, account.item_history),
    ):
        counts = table.interactions[table.slots].tolist()
        assert dict(zip(own.values(), counts, strict=True)) == interactions
        if table is model.users or account.items_remember:
            assert history_of(table, own, other) == histories
        assert np.isfinite(table.vectors[table.slots]).all()


def evidence_in(directory: Path) -> tuple[Entries, Entries]:
    """What a store that nobody writes to has compared, and what it has sampled."""
    with closing(RocksReader(directory)) as reader:
        return stored_evidence(reader).latest(), stored_inputs(reader).latest()


def number_of_is_poison(publisher: Publisher, record: Stored) -> bool:
    """Whether a record of the interactions topic must become a dead letter."""
    return "number" in record.headers and publisher.made[number_of(record)].events is None


def read_model(settings: LearnerSettings, reader: Reader, flushed_through: int) -> tuple[Model, int, int]:
    """All rows of a store, resident at once, and how many different users and items there are by scanning."""
    state, learning = settings.state, settings.learning
    model = Model(learning.rank, 20_000, 10_000, state.history_max, settings.decode.event_ids_kept)
    seen: dict[int, set[int]] = {USER: set(), ITEM: set()}
    for kind in (USER, ITEM, GLOBAL, EVENT_IDS, NEIGHBOURS):
        for rows in reader.scan(kind):
            model.apply(rows)
            seen.setdefault(kind, set()).update(rows.ordinals.tolist())
    for entry in reader.journal(flushed_through):
        model.follow(entry)
        for rows in entry.rows:
            seen.setdefault(rows.kind, set()).update(rows.ordinals.tolist())
    return model, len(seen[USER]), len(seen[ITEM])


def table_names(table: FactorTable) -> dict[int, str]:
    """Ids by ordinal, in the order of slots."""
    slots = table.slots
    return {
        int(ordinal): name.decode()
        for ordinal, name in zip(table.ordinals[slots], table.ids(slots), strict=True)
    }


def history_of(
    table: FactorTable, own: dict[int, str], other: dict[int, str]
) -> dict[str, list[tuple[str, float]]]:
    """By id, every history with ids in place of ordinals."""
    histories = {}
    for slot in table.slots.tolist():
        others, strengths = table.history(slot)
        pairs = zip(others.tolist(), strengths.tolist(), strict=True)
        histories[own[int(table.ordinals[slot])]] = [(other[o], strength) for o, strength in pairs]
    return histories


def _settings(bootstrap: str, directory: Path, algorithm: str, name: str) -> dict[str, Any]:
    """Bounds so tight that flushes, trims, evictions and full outboxes happen all the time."""
    topics = {kind: f"{name}.{kind}" for kind in ("interactions", "dlq", "items", "control", "drift")}
    return {
        "kafka": {"bootstrap.servers": bootstrap},
        "topics": {**topics, "partitions": PARTITIONS},
        "model": {"name": name},
        "decode": {"event_ids_kept": 40},
        "learning": {
            "algorithm": algorithm,
            "strength": "value",
            "rank": 8,
            "batch_records_max": 20,
            "poll_timeout_ms": 5,
        },
        "prequential": {"sample_every": 5, "window_events": 50},
        "state": {
            "directory": str(directory),
            "rows_max": ITEMS_MAX + USERS_RESIDENT,
            "items_max": ITEMS_MAX,
            "history_max": 8,
            "sync": "interval",
            "sync_interval_ms": 50,
            "flush_interval_ms": 60,
            "dirty_rows_max": 200,
            "journal_bytes_max": 1 << 20,
            "journal_keep_ms": 100,
            "outbox_bytes_max": 1 << 16,
        },
    }
