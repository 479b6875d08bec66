"""Where records come from: `stream.source.Source` over a broker.

Callbacks record facts; `poll` acts on them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import confluent_kafka as ck
import numpy as np
import orjson

from state.errors import BrokerUnreachableError, LogChangedError, SourceError, TopicMissingError
from state.store import TopicPartition
from stream.events import Records
from stream.kafka.client import (
    CONSUMER_DEFAULTS,
    CONSUMER_FIXED,
    REQUEST_TIMEOUT_MS,
    UNKNOWN_TOPIC,
    UNREACHABLE,
    Setting,
    client_settings,
    code_of,
    make_client,
    named_error,
    servers_of,
)
from stream.kafka.group_offsets import GroupOffsets
from stream.kafka.health import Health
from stream.kafka.inquiry import Inquiry
from stream.kafka.messages import columns, place
from stream.source import Held, LogIdentity, require_offset_in_log

Answer = TypeVar("Answer")

RETRY_PAUSE_S = 0.1
COMPLAINT_S = 1.0
"""How long is asked once more, to learn why nobody answers."""
STATISTICS_MS = 1_000
# How long a question in the midst of polling, and how long the last word to lag tools may take.
ASIDE_MAX_S, FAREWELL_MAX_S = 1.0, 2.0
# What one consume() call may return at most, by librdkafka's own limit.
CONSUME_MAX = 1_000_000

_NOT_IN_LOG = frozenset({ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE})


class KafkaSource:
    """`stream.source.Source` over a broker: every partition of `topics`, from explicit positions.

    `kafka` is the user's table of librdkafka settings. `group` names the group whose offsets lag
    tools read. Requests that must be answered wait at most `request_timeout_ms`.
    """

    def __init__(
        self,
        kafka: Mapping[str, Setting],
        group: str,
        topics: Sequence[str],
        request_timeout_ms: int = REQUEST_TIMEOUT_MS,
    ) -> None:
        self._topics = tuple(topics)
        self._timeout_s = request_timeout_ms / 1_000
        self._servers = servers_of(kafka)
        self._inquiry = Inquiry(kafka)
        self._identity = LogIdentity()
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._health = Health()
        self._failure: SourceError | None = None
        self._outside: set[TopicPartition] = set()
        settings = client_settings(kafka, {"group.id": group, **CONSUMER_DEFAULTS}, CONSUMER_FIXED)
        # Whatever a shared file of settings says for others: a problem ends by the next statistics.
        settings["statistics.interval.ms"] = STATISTICS_MS
        self._group_offsets = GroupOffsets()
        callbacks = {
            "error_cb": self._health.note_error,
            "stats_cb": self._note_statistics,
            "on_commit": self._group_offsets.note_answer,
        }
        self._consumer: ck.Consumer | None = make_client(ck.Consumer, {**settings, **callbacks})

    def partitions(self) -> Sequence[TopicPartition]:
        """Every partition of the topics that exists now, sorted.

        Raises:
            TopicMissingError: one of the topics does not exist.
            BrokerUnreachableError: no broker answered in time.
        """
        deadline_s = time.monotonic() + self._timeout_s
        return sorted(
            TopicPartition(topic, partition)
            for topic in self._topics
            for partition in self._partitions_of(topic, deadline_s)
        )

    def limits(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """(first offset kept, next offset to be written) of each partition, asked of the broker.

        Raises:
            TopicMissingError: there is no such topic or partition.
            BrokerUnreachableError: no broker answered in time.
        """
        found = self._limits_of(partitions, time.monotonic() + self._timeout_s)
        self._ends.update((where, end) for where, (_, end) in found.items())
        return found

    def identity(self) -> LogIdentity:
        """Which log this is, as far as the brokers know; once asked, another one is an error of `poll`.

        Raises:
            TopicMissingError: one of the topics does not exist.
            BrokerUnreachableError: no broker answered in time.
        """
        self._identity = self._ask_identity(time.monotonic() + self._timeout_s)
        return self._identity

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, and only these, from these offsets on."""
        self._positions = dict(positions)
        self._failure = None
        self._outside.clear()
        self._open.assign([ck.TopicPartition(*where, offset) for where, offset in positions.items()])

    def poll(self, records_max: int, timeout_ms: int) -> Sequence[Records]:
        """What has arrived, waiting at most `timeout_ms` for the first: one `Records` per topic, each
        ordered by partition and offset; never more than `records_max` records in all.

        Positions and topics that the broker seems not to have are asked about first, for at most another
        `ASIDE_MAX_S`.

        Raises:
            OffsetExpiredError: a position lies below the log's start.
            OffsetAheadError: a position lies above the log's end.
            LogChangedError: a topic was created anew since its `identity` was asked.
            TopicMissingError: an assigned topic was deleted.
        """
        self._check()
        self._group_offsets.commit_when_due(self._open)
        deadline_s = time.monotonic() + timeout_ms / 1_000
        while True:
            wait_s = max(0.0, deadline_s - time.monotonic())
            records = self._take(self._receive(min(records_max, CONSUME_MAX), wait_s))
            if not records or self._health.suspects:
                self._check()
            if records:
                return records
            if time.monotonic() >= deadline_s:
                return []

    def positions(self) -> Mapping[TopicPartition, int]:
        """Where reading goes on in each partition: what is before was polled, or is no record."""
        return self._positions

    def held(self) -> Mapping[TopicPartition, Held]:
        """Partitions of which everything is read that an open transaction does not hold back, as of the
        latest statistics."""
        return self._health.held

    def caught_up(self) -> Mapping[TopicPartition, bool]:
        """Whether everything the broker is known to hold of a partition has been polled; no waiting.

        A silent broker is known to hold nothing more: ask `problem()` too.
        """
        return {where: 0 <= self._known_end(where) <= position for where, position in self._positions.items()}

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell lag tools where the state stands, at most once a second; never waits, never fails."""
        self._group_offsets.note(positions)
        self._group_offsets.commit_when_due(self._open)

    def problem(self) -> str | None:
        """What keeps records from arriving, in words for an operator; None when nothing does."""
        return self._health.problem(self._servers)

    def close(self) -> None:
        """Write the last group offsets if a broker answers soon; let go of sockets and threads."""
        self._inquiry.close()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            self._group_offsets.close(consumer, FAREWELL_MAX_S if self.problem() is None else 0.0)

    @property
    def _open(self) -> ck.Consumer:
        if self._consumer is None:
            raise RuntimeError("the source is closed")
        return self._consumer

    def _partitions_of(self, topic: str, deadline_s: float) -> tuple[int, ...]:
        def ask(wait_s: float) -> tuple[int, ...]:
            # Before it fetches the consumer answers at once, and has learnt then what it will need.
            client = self._inquiry.client if self._positions else self._open
            found = client.list_topics(topic, timeout=wait_s).topics[topic]
            if found.error is not None:
                raise ck.KafkaException(found.error)
            return tuple(found.partitions)

        return self._answer(ask, f"topic {topic}", deadline_s)

    def _limits_of(
        self, partitions: Sequence[TopicPartition], deadline_s: float
    ) -> Mapping[TopicPartition, tuple[int, int]]:
        topics = sorted({where.topic for where in partitions})
        there = {topic: self._partitions_of(topic, deadline_s) for topic in topics}
        for topic, partition in partitions:
            if partition not in there[topic]:
                raise TopicMissingError(f"topic {topic} has no partition {partition}: correct [topics]")

        def ask(wait_s: float) -> Mapping[TopicPartition, tuple[int, int]]:
            return self._inquiry.limits(partitions, wait_s)

        return self._answer(ask, f"limits of topic {', '.join(topics)}", deadline_s)

    def _ask_identity(self, deadline_s: float) -> LogIdentity:
        def ask(wait_s: float) -> LogIdentity:
            return self._inquiry.identity(self._topics, wait_s)

        return self._answer(ask, f"ids of {', '.join(self._topics)}", deadline_s)

    def _answer(self, ask: Callable[[float], Answer], doing: str, deadline_s: float) -> Answer:
        """Ask until a broker answers or the time is over: just after its start it may refuse."""
        while True:
            left_s = max(0.001, deadline_s - time.monotonic())
            try:
                return ask(left_s)
            except ck.KafkaException as error:
                unreachable = code_of(error) in UNREACHABLE
                if not unreachable or time.monotonic() + RETRY_PAUSE_S >= deadline_s:
                    # While polling, `problem()` says it.
                    asked = unreachable and not self._positions
                    complaint = self._inquiry.complaint(COMPLAINT_S) if asked else ""
                    raise named_error(error, doing, self._servers, complaint) from error
                time.sleep(RETRY_PAUSE_S)

    def _receive(self, records_max: int, wait_s: float) -> list[ck.Message]:
        """At most `records_max` messages and events, soon after the first of them is there.

        One `consume(n, wait)` would wait the whole time unless n arrive.
        """
        consumer = self._open
        ready = consumer.consume(records_max, 0)
        if ready or wait_s == 0:
            return ready
        first = consumer.consume(1, wait_s)
        if first and records_max > 1:
            first += consumer.consume(records_max - 1, 0)
        return first

    def _take(self, messages: list[ck.Message]) -> list[Records]:
        """Columns of the messages; events among them are noted."""
        errors = list(map(ck.Message.error, messages))
        if any(errors):
            for message, error in zip(messages, errors, strict=True):
                if error is not None:
                    self._note_event(message, error)
            messages = [message for message, error in zip(messages, errors, strict=True) if error is None]
        records = [columns(topic, part) for topic, part in self._by_topic(messages)]
        for part in records:
            self._advance(part)
        return records

    def _by_topic(self, messages: list[ck.Message]) -> list[tuple[str, list[ck.Message]]]:
        """Messages of each topic that has any, in the order of the topics."""
        if not messages:
            return []
        names: list[Any] = list(map(ck.Message.topic, messages))
        if names.count(names[0]) == len(names):
            return [(names[0], messages)]
        parts: dict[str, list[ck.Message]] = {topic: [] for topic in self._topics}
        for name, message in zip(names, messages, strict=True):
            parts[name].append(message)
        return [(topic, part) for topic, part in parts.items() if part]

    def _advance(self, records: Records) -> None:
        """Move the positions past the records; the end of the partition may have been noted already."""
        self._health.refusal = None
        last = np.append(np.flatnonzero(np.diff(records.partitions)), len(records) - 1)
        for partition, offset in zip(
            records.partitions[last].tolist(), records.offsets[last].tolist(), strict=True
        ):
            where = TopicPartition(records.topic, partition)
            self._positions[where] = max(self._positions[where], offset + 1)

    def _note_event(self, message: ck.Message, error: ck.KafkaError) -> None:
        """Sort a message that is no record into: end of partition, permanent failure, passing refusal."""
        where, offset = place(message)
        code = error.code()
        if code == ck.KafkaError._PARTITION_EOF:
            # Transaction markers at the end take offsets but are no records.
            self._positions[where] = max(self._positions.get(where, 0), offset)
            self._health.refusal = None
        elif code in _NOT_IN_LOG:
            self._outside.add(where)
        elif code in UNKNOWN_TOPIC:
            self._health.suspects.add(where.topic)
        else:
            self._health.refusal = f"topic {where.topic} partition {where.partition}: {error.str()}; retrying"

    def _check(self) -> None:
        """Ask about what an earlier poll met, and raise what is wrong; its records were handed out first."""
        deadline_s = time.monotonic() + ASIDE_MAX_S
        for topic in self._health.take_suspects():
            try:
                self._partitions_of(topic, deadline_s)
                self._require_same_log(deadline_s)
            except (TopicMissingError, LogChangedError) as error:
                self._failure = error
            except SourceError as error:
                self._health.refusal = str(error)
        while self._outside:
            self._find_out(self._outside.pop(), deadline_s)
        if self._failure is not None:
            raise self._failure

    def _require_same_log(self, deadline_s: float) -> None:
        self._identity.require_same(self._ask_identity(deadline_s))

    def _find_out(self, where: TopicPartition, deadline_s: float) -> None:
        """Why the position was refused: it lies outside of the log, or the log is another one by now.

        Where neither is so, all partitions are read again from where they stand.
        """
        position = self._positions[where]
        try:
            self._require_same_log(deadline_s)
            require_offset_in_log(where, position, self._limits_of([where], deadline_s)[where])
        except BrokerUnreachableError as error:
            self._health.refusal = str(error)
        except SourceError as error:
            self._failure = error
            return
        self._open.assign([ck.TopicPartition(*each, offset) for each, offset in self._positions.items()])

    def _known_end(self, where: TopicPartition) -> int:
        """The partition's end as of the latest answer about it, below 0 while there is none."""
        _, end = self._open.get_watermark_offsets(ck.TopicPartition(*where), cached=True)
        return max(end, self._ends.get(where, -1))

    def _note_statistics(self, statistics: str) -> None:
        self._health.note_statistics(orjson.loads(statistics), self._positions)
