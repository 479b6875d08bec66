"""Where a consumer group stands, written for lag tools; nothing here ever reads it."""

import threading
import time
from collections.abc import Mapping, Sequence

import confluent_kafka as ck

from state.store import TopicPartition
from stream.kafka.client import LOG

COMMIT_INTERVAL_S = 1.0


class GroupOffsets:
    """The offsets that a consumer commits, one commit on its way at a time.

    A consumer with a commit on its way closes only when a broker has answered, which may be never
    (confluentinc/librdkafka#3740), so whoever closes has to know whether there is one. The admin client,
    which could write offsets too, may abort the process after an outage (confluentinc/librdkafka#4605).
    """

    def __init__(self) -> None:
        self._noted: dict[TopicPartition, int] = {}
        self._on_their_way = False
        self._due_s = 0.0

    def note(self, positions: Mapping[TopicPartition, int]) -> None:
        """Where the group stands now."""
        self._noted.update(positions)

    def commit_when_due(self, consumer: ck.Consumer) -> None:
        """Commit what was noted, at most once a second; never waits, never fails."""
        now_s = time.monotonic()
        if not self._noted or self._on_their_way or now_s < self._due_s:
            return
        offsets = [ck.TopicPartition(*where, offset) for where, offset in self._noted.items()]
        self._noted.clear()
        self._due_s = now_s + COMMIT_INTERVAL_S
        self._on_their_way = True
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except ck.KafkaException as error:
            self.note_answer(error.args[0], [])

    def note_answer(self, error: ck.KafkaError | None, _: Sequence[ck.TopicPartition]) -> None:
        """librdkafka's `on_commit`: the broker, or the lack of one, has decided."""
        self._on_their_way = False
        if error is not None:
            LOG.info("group offsets, for lag tools only, were not written: %s", error.str())

    def close(self, consumer: ck.Consumer, wait_s: float) -> None:
        """Commit what is left, wait so long at most for the answer, and close the consumer.

        Without an answer the consumer closes in a thread of its own, which ends with the process at the
        latest.
        """
        deadline_s = time.monotonic() + wait_s
        self._due_s = 0.0
        while (self._noted or self._on_their_way) and time.monotonic() < deadline_s:
            self.commit_when_due(consumer)
            consumer.consume(1_000, 0.01)
        if self._on_their_way:
            threading.Thread(target=consumer.close, name="closing a consumer", daemon=True).start()
        else:
            consumer.close()
