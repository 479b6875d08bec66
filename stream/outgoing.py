"""Where the outbox goes: a broker, and webhooks; what one of these does not take becomes a dead letter."""

from collections.abc import Sequence

from state.store import OutboxRecord
from stream.cloud_events import webhook_of
from stream.dead_letters import undelivered
from stream.source import Sink
from stream.webhooks import WebhookSink


class Outgoing:
    """Implements `stream.source.Sink`."""

    def __init__(self, broker: Sink, webhooks: WebhookSink, dlq: str, app_version: str) -> None:
        """`dlq`: the topic of dead letters, which has `app_version` in their headers."""
        self._broker, self._webhooks = broker, webhooks
        self._dlq, self._app_version = dlq, app_version
        self._letters: dict[int, OutboxRecord] = {}

    def send(self, record_id: int, record: OutboxRecord) -> bool:
        """Hand a record over; False when the queue is full and the caller should come back later."""
        return (self._webhooks if webhook_of(record.topic) else self._broker).send(record_id, record)

    def poll(self) -> Sequence[int]:
        """Ids of records that have arrived since the last call; failed sends are retried by themselves."""
        return self._collect(0)

    def flush(self, timeout_ms: int) -> Sequence[int]:
        """Wait for records to arrive, at most twice this long, and return their ids."""
        return [*self._collect(timeout_ms), *self._broker.flush(timeout_ms)]

    def problem(self) -> str | None:
        """What keeps records from arriving, in words for an operator; None when nothing does."""
        return self._broker.problem() or self._webhooks.problem()

    def close(self) -> None:
        """Let go of sockets and threads; what has not arrived stays in the outbox."""
        self._webhooks.close()
        self._broker.close()

    def _collect(self, timeout_ms: int) -> list[int]:
        """What has arrived; a letter about what has not goes to the broker in its place."""
        taken, failed = self._webhooks.take(timeout_ms)
        for record_id, record, reason in failed:
            self._letters[record_id] = undelivered(record, record_id, reason, self._dlq, self._app_version)
        for record_id, letter in list(self._letters.items()):
            if not self._broker.send(record_id, letter):
                break
            del self._letters[record_id]
        return [*taken, *self._broker.poll()]
