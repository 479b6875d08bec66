"""What every librdkafka client of ours shares: settings, log lines, and errors by our names."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import confluent_kafka as ck

from state.errors import BrokerUnreachableError, ConfigError, SourceError, TopicMissingError

Setting = str | int | float | bool
Client = TypeVar("Client")

REQUEST_TIMEOUT_MS = 30_000

LOG = logging.getLogger("stream.kafka")

# The user's `[kafka]` table overrides these.
_DEFAULTS: Mapping[str, Setting] = {
    "reconnect.backoff.max.ms": 1_000,
}
CONSUMER_DEFAULTS: Mapping[str, Setting] = {
    "isolation.level": "read_committed",
    # With the default of 1 s a consumer as fast as this one idles each time the queue was full once.
    "fetch.queue.backoff.ms": 10,
    # Per partition: two micro-batches. The default of 100,000 small messages takes ten times their size.
    "queued.min.messages": 20_000,
}
_PRODUCER_DEFAULTS: Mapping[str, Setting] = {
    # As the Java client partitions, so that a user's events stay in one partition whoever sends them.
    "partitioner": "murmur2_random",
    # The topic's own limit decides, not the client's.
    "message.max.bytes": 64 << 20,
    # How long a topic that a broker does not know may yet appear; the default keeps silent for 30 s.
    "topic.metadata.propagation.max.ms": 5_000,
}
# What exactly-once rests on: another value in `[kafka]` is an error.
CONSUMER_FIXED: Mapping[str, Setting] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
}
# librdkafka refuses any `acks` but `all` beside it, under all of that setting's names.
_PRODUCER_FIXED: Mapping[str, Setting] = {"enable.idempotence": True}

LOOK_AT = 'check that it runs, [kafka] "bootstrap.servers" and the network'

UNKNOWN_TOPIC = frozenset(
    {
        ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
        ck.KafkaError.UNKNOWN_TOPIC_ID,
        ck.KafkaError._UNKNOWN_TOPIC,
        ck.KafkaError._UNKNOWN_PARTITION,
    }
)
UNREACHABLE = frozenset(
    {
        ck.KafkaError._TRANSPORT,
        ck.KafkaError._TIMED_OUT,
        ck.KafkaError._MSG_TIMED_OUT,
        ck.KafkaError._ALL_BROKERS_DOWN,
        ck.KafkaError._RESOLVE,
        # Of a request to the leaders of some partitions: there are none just now.
        ck.KafkaError._NOENT,
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


class ClientLog:
    """Takes librdkafka's log lines, those that would only repeat themselves at debug level.

    Lost connections are for `problem()` and fail many times a second; and one `[kafka]` table is for
    consumers and producers, which ignore each other's settings.
    """

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Hand one line on: arguments are facility, client and text."""
        facility, text = (str(arguments[0]), str(arguments[-1])) if arguments else ("", message)
        repeats = facility in ("FAIL", "ERROR", "REQTMOUT") or "will be ignored by this" in text
        LOG.log(logging.DEBUG if repeats else level, message, *arguments)


def client_settings(
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


def producer_settings(kafka: Mapping[str, Setting]) -> dict[str, Any]:
    """What every producer runs with.

    Raises:
        ConfigError: the user's settings contradict what must not be changed.
    """
    return client_settings(kafka, _PRODUCER_DEFAULTS, _PRODUCER_FIXED)


def servers_of(kafka: Mapping[str, Setting]) -> str:
    """The brokers' addresses, for messages to an operator."""
    return str(kafka.get("bootstrap.servers", "(no bootstrap.servers)"))


def make_client(
    make: Callable[..., Client], settings: Mapping[str, Any], logger: ClientLog | None = None
) -> Client:
    """A librdkafka client; what it does not accept is an error of the settings file.

    Raises:
        ConfigError: a setting is unknown to librdkafka or has a wrong value.
    """
    try:
        return make(dict(settings), logger=logger or ClientLog())
    except (ck.KafkaException, TypeError, ValueError) as error:
        raise ConfigError(f"[kafka] librdkafka does not accept the settings: {reason_of(error)}") from error


def code_of(error: ck.KafkaException) -> int | None:
    """librdkafka's error code, where there is one."""
    cause = error.args[0] if error.args else None
    return cause.code() if isinstance(cause, ck.KafkaError) else None


def reason_of(error: BaseException) -> str:
    """What librdkafka says, without its wrapping."""
    cause = error.args[0] if error.args else error
    return str(cause.str()) if isinstance(cause, ck.KafkaError) else str(cause)


def named_error(error: ck.KafkaException, doing: str, servers: str, complaint: str = "") -> SourceError:
    """The error of ours that says what librdkafka's means while `doing` something.

    `complaint`: see `stream.kafka.complaints`.
    """
    reason = f"{doing}: {reason_of(error)}"
    if code_of(error) in UNKNOWN_TOPIC:
        return TopicMissingError(f"{reason}. Run `livefactor topics create`, or correct [topics]")
    if code_of(error) in UNREACHABLE:
        return unreachable(reason, servers, complaint)
    return SourceError(
        f"{reason} (broker {servers}). Check the broker's access rules and the [kafka] settings"
    )


def unreachable(reason: str, servers: str, complaint: str = "") -> BrokerUnreachableError:
    """The error that says where nobody answers, why as far as is known, and what to look at."""
    return BrokerUnreachableError(f"{reason}. No broker answers at {servers}: {complaint or LOOK_AT}")
