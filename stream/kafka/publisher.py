"""How the front door writes to the log."""

import time
from collections.abc import Callable, Mapping
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
from stream.kafka.complaints import Complaints
from stream.kafka.messages import Headers, place

Noted = Callable[[ck.KafkaError | None, ck.Message], None]
"""Told what became of a record."""

# As long as the Java client waits: its max.block.ms.
ROOM_TIMEOUT_MS = 60_000

REFUSED_MS = 2_000
"""How long a record waits whose settings a broker refuses."""


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
        self._complaints = Complaints()
        settings = {**producer_settings(kafka), "error_cb": self._complaints.note}
        self._producer: ck.Producer | None = make_client(ck.Producer, settings, self._complaints)

    def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Queue a record; waits for room while the queue is full.

        Raises:
            BrokerUnreachableError: the queue stayed full.
            SourceError: an earlier record, or this one, was refused or not taken in time.
        """
        deadline_s = time.monotonic() + self._room_timeout_ms / 1_000
        while not self._produce(topic, key, value, headers, self._note_delivery):
            if time.monotonic() >= deadline_s:
                raise unreachable(
                    f"publishing to topic {topic}: the queue stayed full for {self._room_timeout_ms} ms",
                    self._servers,
                    self._complaints.describe(),
                )
            self._open.poll(0.1)
        self._open.poll(0)
        self._raise_failure()

    def deliver(
        self, topic: str, key: bytes | None, value: bytes | None, timeout_ms: int
    ) -> tuple[TopicPartition, int]:
        """Publish one record and wait until it is acknowledged; its partition and the offset after it.

        Raises:
            BrokerUnreachableError: it was not acknowledged in time. It may be yet.
            SourceError: it was refused.
        """
        outcomes: list[tuple[ck.KafkaError | None, ck.Message]] = []

        def note(error: ck.KafkaError | None, message: ck.Message) -> None:
            outcomes.append((error, message))

        self._complaints.forget()
        deadline_s = time.monotonic() + timeout_ms / 1_000
        sent = False
        while not outcomes:
            sent = sent or self._produce(topic, key, value, (), note)
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or (self._complaints.is_of_settings and left_s * 1_000 < timeout_ms - REFUSED_MS):
                raise unreachable(
                    f"the record was not acknowledged within {timeout_ms - left_s * 1_000:.0f} ms and may "
                    "arrive yet: publish it again with the same event_id, which is learnt once",
                    self._servers,
                    self._complaints.describe(),
                )
            self._open.poll(min(left_s, 0.1))
        error, message = outcomes[0]
        if error is not None:
            raise named_error(ck.KafkaException(error), f"publishing to topic {topic}", self._servers)
        where, offset = place(message)
        return where, offset + 1

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
                f"{waiting} published records were not acknowledged within {timeout_ms} ms",
                self._servers,
                self._complaints.describe(),
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

    def _produce(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, note: Noted
    ) -> bool:
        try:
            self._open.produce(topic, value=value, key=key, headers=list(headers), on_delivery=note)
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
