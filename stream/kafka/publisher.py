"""How the front door writes to the log."""

import time
from collections.abc import Mapping
from typing import Self

import confluent_kafka as ck

from state.store import TopicPartition
from stream.kafka.client import (
    Setting,
    make_client,
    named_error,
    producer_settings,
    servers_of,
    unreachable,
)
from stream.kafka.messages import Headers, place

# As long as the Java client waits: its max.block.ms.
ROOM_TIMEOUT_MS = 60_000


class KafkaPublisher:
    """Publishes records from the front door; waits where the queue is full, at most `room_timeout_ms`.

    `positions` is the next offset after this publisher's latest acknowledged record in each
    partition (what a request passes as `min_position`), `acknowledged` how many there were.
    """

    def __init__(self, kafka: Mapping[str, Setting], room_timeout_ms: int = ROOM_TIMEOUT_MS) -> None:
        self._servers = servers_of(kafka)
        self._room_timeout_ms = room_timeout_ms
        self.acknowledged = 0
        self.positions: dict[TopicPartition, int] = {}
        self._failure: ck.KafkaError | None = None
        self._producer: ck.Producer | None = make_client(ck.Producer, producer_settings(kafka))

    def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Queue a record; waits for room while the queue is full.

        Raises:
            BrokerUnreachableError: the queue stayed full.
            SourceError: an earlier record, or this one, was refused or not taken in time.
        """
        deadline_s = time.monotonic() + self._room_timeout_ms / 1_000
        while not self._produce(topic, key, value, headers):
            if time.monotonic() >= deadline_s:
                raise unreachable(
                    f"publishing to topic {topic}: the queue stayed full for {self._room_timeout_ms} ms",
                    self._servers,
                )
            self._open.poll(0.1)
        self._open.poll(0)
        self._raise_failure()

    def flush(self, timeout_ms: int) -> Mapping[TopicPartition, int]:
        """Wait until everything published is acknowledged; `positions` then.

        Raises:
            BrokerUnreachableError: not everything was acknowledged in time.
            SourceError: a record was refused.
        """
        waiting = self._open.flush(timeout_ms / 1_000)
        self._raise_failure()
        if waiting:
            raise unreachable(
                f"{waiting} published records were not acknowledged within {timeout_ms} ms", self._servers
            )
        return dict(self.positions)

    def close(self) -> None:
        """Let go of sockets and threads; what was not flushed is dropped."""
        if self._producer is not None:
            self._producer.purge()
        self._producer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _open(self) -> ck.Producer:
        if self._producer is None:
            raise RuntimeError("the publisher is closed")
        return self._producer

    def _produce(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        try:
            self._open.produce(
                topic, value=value, key=key, headers=list(headers), on_delivery=self._note_delivery
            )
        except BufferError:
            return False
        except ck.KafkaException as error:
            raise named_error(error, f"publishing to topic {topic}", self._servers) from error
        return True

    def _note_delivery(self, error: ck.KafkaError | None, message: ck.Message) -> None:
        if error is not None:
            self._failure = self._failure or error
            return
        where, offset = place(message)
        self.positions[where] = max(self.positions.get(where, 0), offset + 1)
        self.acknowledged += 1

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise named_error(ck.KafkaException(failure), "publishing", self._servers)
