"""How the front door writes to the log."""

from collections.abc import Mapping
from typing import Self

import confluent_kafka as ck

from state.errors import BrokerUnreachableError
from state.store import TopicPartition
from stream.kafka.client import (
    PRODUCER_DEFAULTS,
    PRODUCER_FIXED,
    Setting,
    client_settings,
    make_client,
    named_error,
)
from stream.kafka.messages import Headers, place


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
        self._producer = make_client(ck.Producer, client_settings(kafka, PRODUCER_DEFAULTS, PRODUCER_FIXED))

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
