"""The log as Apache Kafka keeps it: the only place that speaks to a broker.

librdkafka does the work; what is decided here is what exactly-once rests on. Positions come from
the state and never from the consumer group, so partitions are assigned by hand (a group
subscription waits for the session timeout after a SIGKILL) and an offset that is not in the log
is an error and never a silent reset. Group offsets are written for lag tools only.

Callbacks record facts; `poll` acts on them.
"""

import functools
import heapq
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Self, TypeVar

import confluent_kafka as ck
import numpy as np
import orjson
from confluent_kafka import admin

from state.errors import BrokerUnreachableError, ConfigError, SourceError, TopicMissingError
from state.store import OutboxRecord, TopicPartition
from stream.config import TopicsConfig
from stream.events import Records
from stream.source import require_offset_in_log

Setting = str | int | float | bool
Headers = Sequence[tuple[str, bytes]]
Client = TypeVar("Client")
Answer = TypeVar("Answer")

REQUEST_TIMEOUT_MS = 30_000
RETRY_PAUSE_S = 0.1
COMMIT_INTERVAL_S = 1.0
SILENCE_MAX_S = 5.0
RESEND_FIRST_S = 0.1
RESEND_MAX_S = 10.0
# What one consume() call may return at most, by librdkafka's own limit.
CONSUME_MAX = 1_000_000
# A dead letter carries the original bytes and our headers, so its topic takes more than the original's.
DLQ_BYTES_MAX = 2 << 20
UNREADABLE_HEADERS: Headers = (("livefactor-unreadable-headers", b""),)

# The user's `[kafka]` table overrides these.
_DEFAULTS: Mapping[str, Setting] = {
    "reconnect.backoff.max.ms": 1_000,
}
_CONSUMER_DEFAULTS: Mapping[str, Setting] = {
    "isolation.level": "read_committed",
    "statistics.interval.ms": 1_000,
    # With the default of 1 s a consumer as fast as this one idles each time the queue was full once.
    "fetch.queue.backoff.ms": 10,
    # No group session is ever held; this only bounds how long close() waits for a group offset
    # that was being committed when the broker went away.
    "session.timeout.ms": 2_000,
    "heartbeat.interval.ms": 500,
}
_PRODUCER_DEFAULTS: Mapping[str, Setting] = {
    # As the Java client partitions, so that a user's events stay in one partition whoever sends them.
    "partitioner": "murmur2_random",
    # The topic's own limit decides, not the client's.
    "message.max.bytes": 64 << 20,
}
# What exactly-once rests on: another value in `[kafka]` is an error.
_CONSUMER_FIXED: Mapping[str, Setting] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
}
# librdkafka refuses any `acks` but `all` beside it, under all of that setting's names.
_PRODUCER_FIXED: Mapping[str, Setting] = {"enable.idempotence": True}

_UNKNOWN_TOPIC = frozenset(
    {
        ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
        ck.KafkaError.UNKNOWN_TOPIC_ID,
        ck.KafkaError._UNKNOWN_TOPIC,
        ck.KafkaError._UNKNOWN_PARTITION,
    }
)
_NOT_IN_LOG = frozenset({ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE})
_UNREACHABLE = frozenset(
    {
        ck.KafkaError._TRANSPORT,
        ck.KafkaError._TIMED_OUT,
        ck.KafkaError._MSG_TIMED_OUT,
        ck.KafkaError._ALL_BROKERS_DOWN,
        ck.KafkaError._RESOLVE,
        ck.KafkaError.REQUEST_TIMED_OUT,
        ck.KafkaError.BROKER_NOT_AVAILABLE,
        ck.KafkaError.LEADER_NOT_AVAILABLE,
        ck.KafkaError.NOT_LEADER_FOR_PARTITION,
        ck.KafkaError.FENCED_LEADER_EPOCH,
        ck.KafkaError.UNKNOWN_LEADER_EPOCH,
        ck.KafkaError.OFFSET_NOT_AVAILABLE,
        ck.KafkaError.KAFKA_STORAGE_ERROR,
    }
)


class _ClientLog:
    """Takes librdkafka's log lines, those that would only repeat themselves at debug level.

    Lost connections are for `problem()` and fail many times a second; and one `[kafka]` table is for
    consumers and producers, which ignore each other's settings.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger("stream.kafka")

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Hand one line on: arguments are facility, client and text."""
        facility, text = (str(arguments[0]), str(arguments[-1])) if arguments else ("", message)
        repeats = facility in ("FAIL", "ERROR", "REQTMOUT") or "will be ignored by this" in text
        self._logger.log(logging.DEBUG if repeats else level, message, *arguments)


def _settings(
    kafka: Mapping[str, Setting],
    defaults: Mapping[str, Setting],
    fixed: Mapping[str, Setting],
) -> dict[str, Any]:
    """Our defaults under the user's settings under what must not be changed.

    Raises:
        ConfigError: the user's settings contradict what must not be changed.
    """
    for name, value in fixed.items():
        if str(kafka.get(name, value)).lower() != str(value).lower():
            raise ConfigError(
                f'[kafka] "{name}" must stay {str(value).lower()}: exactly-once rests on it, so remove it'
            )
    return {**_DEFAULTS, **defaults, **kafka, **fixed}


def _client(make: Callable[..., Client], settings: Mapping[str, Any]) -> Client:
    """A librdkafka client; what it does not accept is an error of the settings file.

    Raises:
        ConfigError: a setting is unknown to librdkafka or has a wrong value.
    """
    try:
        return make(dict(settings), logger=_ClientLog())
    except (ck.KafkaException, TypeError, ValueError) as error:
        raise ConfigError(f"[kafka] librdkafka does not accept the settings: {_reason(error)}") from error


def _code(error: ck.KafkaException) -> int | None:
    """librdkafka's error code, where there is one."""
    cause = error.args[0] if error.args else None
    return cause.code() if isinstance(cause, ck.KafkaError) else None


def _reason(error: BaseException) -> str:
    """What librdkafka says, without its wrapping."""
    cause = error.args[0] if error.args else error
    return str(cause.str()) if isinstance(cause, ck.KafkaError) else str(cause)


def _named(error: ck.KafkaException, doing: str, servers: object) -> SourceError:
    """The error of ours that says what librdkafka's means while `doing` something."""
    reason = f"{doing}: {_reason(error)}"
    if _code(error) in _UNKNOWN_TOPIC:
        return TopicMissingError(f"{reason}. Run `livefactor topics create`, or correct [topics]")
    if _code(error) in _UNREACHABLE:
        return BrokerUnreachableError(
            f"{reason}. No broker answers at {servers}: "
            'check that it runs, [kafka] "bootstrap.servers" and the network'
        )
    return SourceError(
        f"{reason} (broker {servers}). Check the broker's access rules and the [kafka] settings"
    )


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
        self._servers = kafka.get("bootstrap.servers", "(no bootstrap.servers)")
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._health = _Health()
        self._failure: SourceError | None = None
        self._group_offsets: dict[TopicPartition, int] = {}
        self._commit_due_s = 0.0
        settings = _settings(kafka, {"group.id": group, **_CONSUMER_DEFAULTS}, _CONSUMER_FIXED)
        callbacks = {
            "error_cb": self._health.note_error,
            "stats_cb": self._note_statistics,
            "on_commit": _note_commit,
        }
        self._consumer: ck.Consumer | None = _client(ck.Consumer, {**settings, **callbacks})

    def wait_until_reachable(self, timeout_ms: int) -> bool:
        """Whether a broker answers, waiting at most this long; if not, `problem()` says why."""
        try:
            self._open.list_topics(timeout=timeout_ms / 1_000)
        except ck.KafkaException as error:
            self._health.connection = _reason(error)
            return False
        self._health.connection = None
        return True

    def partitions(self) -> Sequence[TopicPartition]:
        """Every partition of the topics that exists now, sorted.

        Raises:
            TopicMissingError: one of the topics does not exist.
            BrokerUnreachableError: no broker answered in time.
        """
        return sorted(
            TopicPartition(topic, partition)
            for topic in self._topics
            for partition in self._partitions_of(topic, self._timeout_s)
        )

    def limits(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """(first offset kept, next offset to be written) of each partition, asked of the broker.

        Raises:
            TopicMissingError: there is no such topic or partition.
            BrokerUnreachableError: no broker answered in time.
        """
        found = {where: self._limits_of(where) for where in partitions}
        self._ends.update((where, end) for where, (_, end) in found.items())
        return found

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, and only these, from these offsets on."""
        self._positions = dict(positions)
        self._failure = None
        self._open.assign([ck.TopicPartition(*where, offset) for where, offset in positions.items()])

    def poll(self, records_max: int, timeout_ms: int) -> Sequence[Records]:
        """What has arrived, waiting at most `timeout_ms` for the first: one `Records` per topic, each
        ordered by partition and offset; never more than `records_max` records in all.

        Raises:
            OffsetExpiredError: a position lies below the log's start.
            OffsetAheadError: a position lies above the log's end.
            TopicMissingError: an assigned topic was deleted.
        """
        self._check()
        self._commit_when_due()
        deadline_s = time.monotonic() + timeout_ms / 1_000
        while True:
            wait_s = max(0.0, deadline_s - time.monotonic())
            records = self._take(self._receive(min(records_max, CONSUME_MAX), wait_s))
            if records:
                return records
            self._check()
            if time.monotonic() >= deadline_s:
                return []

    def caught_up(self) -> Mapping[TopicPartition, bool]:
        """Whether everything the broker is known to hold of a partition has been polled; no waiting.

        A silent broker is known to hold nothing more: ask `problem()` too.
        """
        return {where: 0 <= self._known_end(where) <= position for where, position in self._positions.items()}

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell lag tools where the state stands, at most once a second; never waits, never fails."""
        self._group_offsets.update(positions)
        self._commit_when_due()

    def problem(self) -> str | None:
        """What keeps records from arriving, in words for an operator; None when nothing does."""
        return self._health.problem(str(self._servers))

    def close(self) -> None:
        """Write the last group offsets if a broker answers; let go of sockets and threads."""
        consumer = self._consumer
        if consumer is None:
            return
        if self.problem() is None:
            self._commit_due_s = 0.0
            self._commit_when_due()
        consumer.close()
        self._consumer = None

    @property
    def _open(self) -> ck.Consumer:
        if self._consumer is None:
            raise RuntimeError("the source is closed")
        return self._consumer

    def _partitions_of(self, topic: str, timeout_s: float) -> tuple[int, ...]:
        def ask(wait_s: float) -> tuple[int, ...]:
            found = self._open.list_topics(topic, timeout=wait_s).topics[topic]
            if found.error is not None:
                raise ck.KafkaException(found.error)
            return tuple(found.partitions)

        return self._answer(ask, f"topic {topic}", timeout_s)

    def _limits_of(self, where: TopicPartition) -> tuple[int, int]:
        def ask(wait_s: float) -> tuple[int, int]:
            first, end = self._open.get_watermark_offsets(ck.TopicPartition(*where), timeout=wait_s)
            return first, end

        return self._answer(
            ask, f"limits of topic {where.topic} partition {where.partition}", self._timeout_s
        )

    def _answer(self, ask: Callable[[float], Answer], doing: str, timeout_s: float) -> Answer:
        """Ask until a broker answers, for a bounded time: just after its start it may refuse."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_s = max(0.001, deadline_s - time.monotonic())
            try:
                return ask(left_s)
            except ck.KafkaException as error:
                if _code(error) not in _UNREACHABLE or time.monotonic() + RETRY_PAUSE_S >= deadline_s:
                    raise _named(error, doing, self._servers) from error
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
        """Move the positions past the records."""
        self._health.refusal = None
        last = np.append(np.flatnonzero(np.diff(records.partitions)), len(records) - 1)
        for partition, offset in zip(
            records.partitions[last].tolist(), records.offsets[last].tolist(), strict=True
        ):
            self._positions[TopicPartition(records.topic, partition)] = offset + 1

    def _note_event(self, message: ck.Message, error: ck.KafkaError) -> None:
        """Sort a message that is no record into: end of partition, permanent failure, passing refusal."""
        where, offset = _place(message)
        code = error.code()
        if code == ck.KafkaError._PARTITION_EOF:
            # Transaction markers at the end take offsets but are no records.
            self._positions[where] = max(self._positions.get(where, 0), offset)
            self._health.refusal = None
        elif code in _NOT_IN_LOG:
            self._note_not_in_log(where)
        elif code in _UNKNOWN_TOPIC:
            self._health.suspects.add(where.topic)
        else:
            self._health.refusal = f"topic {where.topic} partition {where.partition}: {error.str()}; retrying"

    def _note_not_in_log(self, where: TopicPartition) -> None:
        """Find out on which side of the log the position lies; ask again where it lies inside after all."""
        position = self._positions[where]
        try:
            require_offset_in_log(where, position, self._limits_of(where))
        except BrokerUnreachableError as error:
            self._health.refusal = str(error)
        except SourceError as error:
            self._failure = error
            return
        self._open.seek(ck.TopicPartition(*where, position))

    def _check(self) -> None:
        """Raise what an earlier poll found; its records were handed out first."""
        for topic in self._health.take_suspects():
            try:
                self._partitions_of(topic, SILENCE_MAX_S)
            except TopicMissingError as error:
                self._failure = error
            except SourceError as error:
                self._health.refusal = str(error)
        if self._failure is not None:
            raise self._failure

    def _known_end(self, where: TopicPartition) -> int:
        """The partition's end as of the latest answer about it, below 0 while there is none."""
        _, end = self._open.get_watermark_offsets(ck.TopicPartition(*where), cached=True)
        return max(end, self._ends.get(where, -1))

    def _note_statistics(self, statistics: str) -> None:
        self._health.note_statistics(orjson.loads(statistics), self._positions)

    def _commit_when_due(self) -> None:
        now_s = time.monotonic()
        if not self._group_offsets or now_s < self._commit_due_s:
            return
        offsets = [ck.TopicPartition(*where, offset) for where, offset in self._group_offsets.items()]
        self._group_offsets.clear()
        self._commit_due_s = now_s + COMMIT_INTERVAL_S
        try:
            self._open.commit(offsets=offsets, asynchronous=True)
        except ck.KafkaException as error:
            _note_commit(error.args[0], [])


def _note_commit(error: ck.KafkaError | None, _: object) -> None:
    if error is not None:
        logging.getLogger("stream.kafka").info(
            "group offsets, for lag tools only, were not written: %s", error.str()
        )


class _Health:
    """What is known to keep records from arriving.

    `connection`: no broker can be talked to; cleared by statistics that show one.
    `refusal`: a broker answers, but not with records; cleared by records or the end of a partition.
    `suspects`: topics that may be gone, to be asked about.
    """

    def __init__(self) -> None:
        self.connection: str | None = None
        self.refusal: str | None = None
        self.suspects: set[str] = set()
        self._silent: set[TopicPartition] = set()

    def problem(self, servers: str) -> str | None:
        """One sentence for an operator, or None."""
        if self.connection is not None:
            return f"no records from {servers}: {self.connection}; waiting for it"
        return self.refusal

    def take_suspects(self) -> set[str]:
        """The topics to ask about; each is handed out once."""
        taken, self.suspects = self.suspects, set()
        return taken

    def note_error(self, error: ck.KafkaError) -> None:
        """librdkafka's `error_cb`: brokers that cannot be reached, addressed or logged in to."""
        self.connection = error.str()

    def note_statistics(self, statistics: Mapping[str, Any], assigned: Iterable[TopicPartition]) -> None:
        """librdkafka's `stats_cb`, once a second: the state of each broker and partition in use."""
        brokers = {
            broker["nodeid"]: broker for broker in statistics["brokers"].values() if broker["nodeid"] >= 0
        }
        before, self._silent = self._silent, set()
        troubles = []
        for where in assigned:
            partition = _partition_statistics(statistics, where)
            trouble = _broker_trouble(brokers.get(partition.get("broker", -1)))
            if trouble is not None:
                troubles.append(f"topic {where.topic} partition {where.partition}: {trouble}")
            elif partition["hi_offset"] == -1:
                self._silent.add(where)
        self.connection = troubles[0] if troubles else None
        # Fetches of a deleted topic fail without a word: its end is just unknown again, and stays so.
        self.suspects.update(where.topic for where in self._silent & before)


def _partition_statistics(statistics: Mapping[str, Any], where: TopicPartition) -> Mapping[str, Any]:
    topic = statistics["topics"].get(where.topic, {"partitions": {}})
    found: Mapping[str, Any] = topic["partitions"].get(str(where.partition), {})
    return found


def _broker_trouble(broker: Mapping[str, Any] | None) -> str | None:
    """What is wrong with the broker that leads a partition, from librdkafka's statistics of it."""
    if broker is None:
        return "no broker leads it"
    if broker["state"] != "UP":
        return f"broker {broker['name']} is not connected"
    silent_s = broker["rxidle"] / 1e6
    if broker["waitresp_cnt"] > 0 and silent_s > SILENCE_MAX_S:
        return f"broker {broker['name']} has not answered for {silent_s:.0f} s"
    return None


def _place(message: ck.Message) -> tuple[TopicPartition, int]:
    """Partition and offset of a message that came from or went to a broker."""
    topic: Any = message.topic()
    partition: Any = message.partition()
    offset: Any = message.offset()
    return TopicPartition(topic, partition), offset


def columns(topic: str, messages: list[ck.Message]) -> Records:
    """Columns of n >= 1 messages of one topic that carry no errors, ordered by partition and offset.

    Within a partition the log's order is the order of arrival, so a stable sort by partition is enough.
    """
    count = len(messages)
    partitions = np.fromiter(map(ck.Message.partition, messages), np.int32, count)
    if (partitions[1:] < partitions[:-1]).any():
        order = np.argsort(partitions, kind="stable")
        partitions = partitions[order]
        messages = list(map(messages.__getitem__, order.tolist()))
    return Records(
        topic=topic,
        values=list(map(ck.Message.value, messages)),
        keys=list(map(ck.Message.key, messages)),
        headers=_headers(messages),
        partitions=partitions,
        offsets=np.fromiter(map(ck.Message.offset, messages), np.int64, count),
        timestamps_ms=np.fromiter(map(itemgetter(1), map(ck.Message.timestamp, messages)), np.int64, count),
    )


def _headers(messages: list[ck.Message]) -> list[Headers | None]:
    """Headers of each message: null values as empty ones, names that are no UTF-8 as one marker."""
    headers: list[Any] = []
    while len(headers) < len(messages):
        try:
            headers.extend(map(ck.Message.headers, messages[len(headers) :]))
        except (SystemError, UnicodeDecodeError):
            # The client cannot show these, and must not be asked a second time.
            headers.append(UNREADABLE_HEADERS)
    if headers.count(None) == len(headers):
        return headers
    return [pairs and [(name, value or b"") for name, value in pairs] for pairs in headers]


@dataclass(slots=True)
class _Outgoing:
    """A record that no broker has acknowledged yet, and how often sending it has failed."""

    record: OutboxRecord
    failures: int = 0


class KafkaSink:
    """`stream.source.Sink` over a broker. Failed sends are put back and sent again, ever more slowly."""

    def __init__(self, kafka: Mapping[str, Setting]) -> None:
        self._kafka = dict(kafka)
        self._outgoing: dict[int, _Outgoing] = {}
        self._resend: list[tuple[float, int]] = []
        self._acknowledged: list[int] = []
        self._problem: str | None = None
        self._broken = False
        self._producer = self._connect()

    def send(self, record_id: int, record: OutboxRecord) -> bool:
        """Hand a record over; False when the queue is full and the caller should come back later.

        A record that is already on its way is not sent twice.
        """
        if record_id in self._outgoing:
            return True
        self._outgoing[record_id] = _Outgoing(record)
        if self._produce(record_id):
            return True
        del self._outgoing[record_id]
        return False

    def poll(self) -> Sequence[int]:
        """Ids that a broker has acknowledged since the last call; failed sends are retried by themselves."""
        self._producer.poll(0)
        if self._broken:
            self._reconnect()
        self._send_again()
        acknowledged, self._acknowledged = self._acknowledged, []
        return acknowledged

    def flush(self, timeout_ms: int) -> Sequence[int]:
        """Wait for acknowledgements, at most this long, and return their ids."""
        deadline_s = time.monotonic() + timeout_ms / 1_000
        acknowledged = list(self.poll())
        while self._outgoing and time.monotonic() < deadline_s:
            self._producer.poll(0.01)
            acknowledged += self.poll()
        return acknowledged

    def problem(self) -> str | None:
        """What keeps records from being acknowledged, in words for an operator; None when nothing does."""
        return self._problem if self._outgoing else None

    def close(self) -> None:
        """Let go of sockets and threads; what was not acknowledged stays in the outbox."""
        self._producer.purge()

    def _connect(self) -> ck.Producer:
        settings = _settings(self._kafka, _PRODUCER_DEFAULTS, _PRODUCER_FIXED)
        return _client(ck.Producer, {**settings, "error_cb": self._note_error})

    def _produce(self, record_id: int) -> bool:
        """Queue a record; False when the queue is full."""
        record = self._outgoing[record_id].record
        try:
            self._producer.produce(
                record.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                on_delivery=functools.partial(self._note_delivery, record_id),
            )
        except BufferError:
            return False
        except ck.KafkaException as error:
            self._put_back(record_id, _reason(error))
        return True

    def _note_delivery(self, record_id: int, error: ck.KafkaError | None, _: ck.Message) -> None:
        if error is not None:
            self._put_back(record_id, error.str())
        else:
            del self._outgoing[record_id]
            self._acknowledged.append(record_id)
            self._problem = None

    def _note_error(self, error: ck.KafkaError) -> None:
        self._problem = f"nothing can be sent: {error.str()}; retrying"
        self._broken = self._broken or error.fatal()

    def _put_back(self, record_id: int, reason: str) -> None:
        outgoing = self._outgoing[record_id]
        wait_s = min(RESEND_MAX_S, RESEND_FIRST_S * 2.0**outgoing.failures)
        outgoing.failures += 1
        what = f"a record of {outgoing.record.size} bytes for topic {outgoing.record.topic}"
        self._problem = f"{what} was not taken: {reason}; retrying"
        heapq.heappush(self._resend, (time.monotonic() + wait_s, record_id))

    def _send_again(self) -> None:
        while self._resend and self._resend[0][0] <= time.monotonic():
            _, record_id = self._resend[0]
            if not self._produce(record_id):
                return
            heapq.heappop(self._resend)

    def _reconnect(self) -> None:
        """Replace a producer that has failed for good.

        Purging reports its records as failed, and so they are put back.
        """
        self._producer.purge()
        self._producer.poll(0)
        self._producer = self._connect()
        self._broken = False


class KafkaPublisher:
    """Publishes records from the front door; waits where the queue is full.

    `positions` is the next offset after this publisher's latest acknowledged record in each
    partition (what a request passes as `min_position`), `acknowledged` how many there were.
    """

    def __init__(self, kafka: Mapping[str, Setting]) -> None:
        self._servers = kafka.get("bootstrap.servers", "(no bootstrap.servers)")
        self.acknowledged = 0
        self.positions: dict[TopicPartition, int] = {}
        self._failure: ck.KafkaError | None = None
        self._producer = _client(ck.Producer, _settings(kafka, _PRODUCER_DEFAULTS, _PRODUCER_FIXED))

    def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Queue a record; waits for room while the queue is full.

        Raises:
            SourceError: an earlier record, or this one, was refused or not taken in time.
        """
        while not self._produce(topic, key, value, headers):
            self._producer.poll(0.1)
        self._producer.poll(0)
        self._raise_failure()

    def flush(self, timeout_ms: int) -> Mapping[TopicPartition, int]:
        """Wait until everything published is acknowledged; `positions` then.

        Raises:
            BrokerUnreachableError: not everything was acknowledged in time.
            SourceError: a record was refused.
        """
        waiting = self._producer.flush(timeout_ms / 1_000)
        self._raise_failure()
        if waiting:
            raise BrokerUnreachableError(
                f"{waiting} published records were not acknowledged within {timeout_ms} ms. "
                f"No broker answers at {self._servers}: check that it runs, "
                '[kafka] "bootstrap.servers" and the network'
            )
        return dict(self.positions)

    def close(self) -> None:
        """Let go of sockets and threads; what was not flushed is dropped."""
        self._producer.purge()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _produce(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        try:
            self._producer.produce(
                topic, value=value, key=key, headers=list(headers), on_delivery=self._note_delivery
            )
        except BufferError:
            return False
        except ck.KafkaException as error:
            raise _named(error, f"publishing to topic {topic}", self._servers) from error
        return True

    def _note_delivery(self, error: ck.KafkaError | None, message: ck.Message) -> None:
        if error is not None:
            self._failure = self._failure or error
            return
        where, offset = _place(message)
        self.positions[where] = max(self.positions.get(where, 0), offset + 1)
        self.acknowledged += 1

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise _named(ck.KafkaException(failure), "publishing", self._servers)


@dataclass(frozen=True, slots=True)
class _TopicPlan:
    """How a topic of ours should be."""

    name: str
    partitions: int
    config: Mapping[str, str]


def _plans(topics: TopicsConfig) -> tuple[_TopicPlan, ...]:
    retention = {"retention.ms": str(topics.retention_ms)}
    return (
        _TopicPlan(topics.interactions, topics.partitions, retention),
        _TopicPlan(topics.dlq, topics.partitions, {**retention, "max.message.bytes": str(DLQ_BYTES_MAX)}),
        _TopicPlan(topics.items, topics.partitions, {"cleanup.policy": "compact"}),
        # Commands are few, and a replay of the log needs all of them.
        _TopicPlan(topics.control, 1, {"retention.ms": "-1"}),
        _TopicPlan(topics.drift, 1, {}),
    )


class _Admin:
    """Requests about topics, each waiting a bounded time."""

    def __init__(self, kafka: Mapping[str, Setting], timeout_ms: int) -> None:
        self._servers = kafka.get("bootstrap.servers", "(no bootstrap.servers)")
        self._timeout_s = timeout_ms / 1_000
        self._client = _client(admin.AdminClient, _settings(kafka, {}, {}))

    def partitions(self) -> dict[str, int]:
        """Number of partitions of every topic there is."""
        try:
            topics = self._client.list_topics(timeout=self._timeout_s).topics
        except ck.KafkaException as error:
            raise _named(error, "listing topics", self._servers) from error
        return {name: len(topic.partitions) for name, topic in topics.items()}

    def create(self, plan: _TopicPlan, replication: int) -> str:
        """`created`, or `exists` if someone else was faster."""
        topic = admin.NewTopic(  # type: ignore[attr-defined]
            plan.name,
            num_partitions=plan.partitions,
            replication_factor=replication,
            config=dict(plan.config),
        )
        done = self._client.create_topics(
            [topic], operation_timeout=self._timeout_s, request_timeout=self._timeout_s
        )
        try:
            done[plan.name].result()
        except ck.KafkaException as error:
            if _code(error) == ck.KafkaError.TOPIC_ALREADY_EXISTS:
                return "exists"
            raise _named(error, f"creating topic {plan.name}", self._servers) from error
        return "created"

    def settings(self, topic: str) -> dict[str, str]:
        """The topic's settings as the broker applies them."""
        kind = admin.ConfigResource  # type: ignore[attr-defined]
        resource = kind(kind.Type.TOPIC, topic)
        asked = self._client.describe_configs([resource], request_timeout=self._timeout_s)
        try:
            entries = asked[resource].result()
        except ck.KafkaException as error:
            raise _named(error, f"settings of topic {topic}", self._servers) from error
        return {name: str(entry.value) for name, entry in entries.items()}


def create_topics(
    kafka: Mapping[str, Setting], topics: TopicsConfig, timeout_ms: int = REQUEST_TIMEOUT_MS
) -> list[tuple[str, str]]:
    """Create the topics that do not exist; (topic, "created" or "exists") of each.

    Raises:
        BrokerUnreachableError: no broker answered in time.
        SourceError: the broker refused.
    """
    broker = _Admin(kafka, timeout_ms)
    there = broker.partitions()
    return [
        (plan.name, "exists" if plan.name in there else broker.create(plan, topics.replication))
        for plan in _plans(topics)
    ]


def check_topics(
    kafka: Mapping[str, Setting], topics: TopicsConfig, timeout_ms: int = REQUEST_TIMEOUT_MS
) -> list[str]:
    """What is wrong with the topics, a sentence each; empty when nothing is.

    Raises:
        BrokerUnreachableError: no broker answered in time.
        SourceError: the broker refused to show the topics' settings.
    """
    broker = _Admin(kafka, timeout_ms)
    partitions = broker.partitions()
    plans = _plans(topics)
    missing = [plan.name for plan in plans if plan.name not in partitions]
    settings = {plan.name: broker.settings(plan.name) for plan in plans if plan.name in partitions}
    findings = [f"topic {name} does not exist: run `livefactor topics create`" for name in missing]
    if partitions.get(topics.control, 1) != 1:
        findings.append(
            f"topic {topics.control} has {partitions[topics.control]} partitions: commands need one order, "
            "so delete it and run `livefactor topics create`"
        )
    return findings + _setting_findings(topics, settings)


def _setting_findings(topics: TopicsConfig, settings: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is wrong with the settings of the topics that exist."""
    findings = []
    items, interactions, dlq = (
        settings.get(name) for name in (topics.items, topics.interactions, topics.dlq)
    )
    if items and "compact" not in items["cleanup.policy"]:
        findings.append(
            f"topic {topics.items} is not compacted, so items will be forgotten: "
            "set its cleanup.policy to compact"
        )
    if interactions and "compact" in interactions["cleanup.policy"]:
        findings.append(
            f"topic {topics.interactions} is compacted, so all but a user's last event are forgotten: "
            "set its cleanup.policy to delete"
        )
    if interactions and 0 <= int(interactions["retention.ms"]) < topics.retention_ms:
        findings.append(
            f"topic {topics.interactions} keeps records for {interactions['retention.ms']} ms, less than "
            f"topics.retention_ms = {topics.retention_ms}: a learner that is down for longer loses events"
        )
    if interactions and dlq and int(dlq["max.message.bytes"]) <= int(interactions["max.message.bytes"]):
        findings.append(
            f"topic {topics.dlq} takes records of {dlq['max.message.bytes']} bytes, no more than "
            f"{topics.interactions}: a large bad record with its headers would not fit; "
            "raise its max.message.bytes"
        )
    return findings


class EmbeddedCluster:
    """A broker inside this process for demos and quick tests: librdkafka's own, over real TCP.

    Its topics have four partitions, of each of which it keeps the latest 5 MiB in memory, and it
    ends with this object.
    """

    def __init__(self, topics: Sequence[str] = ()) -> None:
        settings = {"test.mock.num.brokers": 1, "bootstrap.servers": "replaced"}
        self._host: ck.Producer | None = _client(ck.Producer, settings)
        brokers = self._host.list_topics(timeout=10).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self.create_topics(topics)

    @property
    def settings(self) -> dict[str, Setting]:
        """The `[kafka]` table that reaches the cluster.

        It looks for new records only when a waiting fetch times out, so that decides the latency.
        """
        return {"bootstrap.servers": self.bootstrap, "fetch.wait.max.ms": 10}

    def create_topics(self, topics: Sequence[str]) -> None:
        """Create topics: this broker knows no CreateTopics, but makes what a producer asks about."""
        if self._host is None:
            raise RuntimeError("the embedded cluster is closed")
        for topic in topics:
            self._host.list_topics(topic, timeout=10)

    def close(self) -> None:
        """End the cluster; its records are gone."""
        self._host = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
