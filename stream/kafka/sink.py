"""Where the outbox goes: `stream.source.Sink` over a broker."""

import functools
import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import confluent_kafka as ck

from state.store import OutboxRecord
from stream.kafka.client import UNKNOWN_TOPIC, Setting, make_client, producer_settings

RESEND_FIRST_S = 0.1
RESEND_MAX_S = 10.0

_ADVICE: Mapping[int, str] = {
    **dict.fromkeys(UNKNOWN_TOPIC, "; run `livefactor topics create`, or correct [topics]"),
    ck.KafkaError.MSG_SIZE_TOO_LARGE: '; raise its max.message.bytes, or [kafka] "message.max.bytes" if set',
}


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
        self._refused: set[int] = set()
        self._acknowledged: list[int] = []
        self._problem: str | None = None
        self._broken = False
        self._one_by_one = False
        self._producer: ck.Producer | None = self._connect()

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
        self._open.poll(0)
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
            self._open.poll(0.01)
            acknowledged += self.poll()
        return acknowledged

    def problem(self) -> str | None:
        """What keeps records from being acknowledged, in words for an operator; None when nothing does."""
        return self._problem if self._outgoing else None

    def close(self) -> None:
        """Let go of sockets and threads; what was not acknowledged stays in the outbox."""
        if self._producer is not None:
            self._producer.purge()
        # Its callbacks hold the sink: a cycle, with threads that would live until the next collection.
        self._producer = None

    @property
    def _open(self) -> ck.Producer:
        if self._producer is None:
            raise RuntimeError("the sink is closed")
        return self._producer

    def _connect(self) -> ck.Producer:
        settings = {**producer_settings(self._kafka), "error_cb": self._note_error}
        return make_client(ck.Producer, settings | ({"batch.num.messages": 1} if self._one_by_one else {}))

    def _produce(self, record_id: int) -> bool:
        """Queue a record; False when the queue is full."""
        record = self._outgoing[record_id].record
        try:
            self._open.produce(
                record.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                on_delivery=functools.partial(self._note_delivery, record_id),
            )
        except BufferError:
            return False
        except ck.KafkaException as error:
            self._put_back(record_id, error.args[0])
        return True

    def _note_delivery(self, record_id: int, error: ck.KafkaError | None, _: ck.Message) -> None:
        if error is not None:
            self._put_back(record_id, error)
            self._note_too_large(error)
            return
        del self._outgoing[record_id]
        self._acknowledged.append(record_id)
        self._refused.discard(record_id)
        if not self._refused:
            self._problem = None

    def _note_too_large(self, error: ck.KafkaError) -> None:
        """A broker measures batches: what is refused together may be taken one by one."""
        if error.code() == ck.KafkaError.MSG_SIZE_TOO_LARGE and not self._one_by_one:
            self._one_by_one = self._broken = True

    def _note_error(self, error: ck.KafkaError) -> None:
        self._problem = f"nothing can be sent: {error.str()}; retrying"
        self._broken = self._broken or error.fatal()

    def _put_back(self, record_id: int, error: ck.KafkaError) -> None:
        outgoing = self._outgoing[record_id]
        wait_s = min(RESEND_MAX_S, RESEND_FIRST_S * 2.0**outgoing.failures)
        outgoing.failures += 1
        what = f"a record of {outgoing.record.size} bytes for topic {outgoing.record.topic}"
        self._problem = f"{what} was not taken: {error.str()}{_ADVICE.get(error.code(), '')}; retrying"
        self._refused.add(record_id)
        heapq.heappush(self._resend, (time.monotonic() + wait_s, record_id))

    def _send_again(self) -> None:
        while self._resend and self._resend[0][0] <= time.monotonic():
            _, record_id = self._resend[0]
            if not self._produce(record_id):
                return
            heapq.heappop(self._resend)

    def _reconnect(self) -> None:
        """Replace a producer that has failed for good; what it has not acknowledged is sent again.

        It may go before it has reported all of its records, so none of them waits for that.
        """
        self._open.purge()
        self._open.poll(0)
        self._resend = [(0.0, record_id) for record_id in sorted(self._outgoing)]
        self._producer = self._connect()
        self._broken = False
