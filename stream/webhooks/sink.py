"""Where the part of the outbox goes that is for webhooks, over HTTP.

Each webhook gets its events one after the other, from a task on one loop in one thread. What it does not
take is sent again, ever more slowly; what it refuses for good, or has not taken in time, comes back with a
reason.
"""

import asyncio
import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from state.store import OutboxRecord
from stream.cloud_events import webhook_of
from stream.config import WebhookConfig

if TYPE_CHECKING:
    from stream.webhooks.posting import Poster

AGAIN_FIRST_S, AGAIN_MAX_S = 0.5, 60.0
WAITING_MAX = 100
"""Most events that wait for one webhook; further ones come back at once."""
CLOSE_S = 2.0


class Undelivered(NamedTuple):
    """A record that a webhook will not get, and why."""

    record_id: int
    record: OutboxRecord
    reason: str


class _Delivery(NamedTuple):
    record_id: int
    record: OutboxRecord
    since_s: float


class WebhookSink:
    """Posts drift events. Without any webhook there is no thread."""

    def __init__(self, webhooks: Mapping[str, WebhookConfig]) -> None:
        self._webhooks = webhooks
        self._queues: dict[str, asyncio.Queue[_Delivery]] = {}
        self._outcomes: SimpleQueue[tuple[_Delivery, str]] = SimpleQueue()
        self._sent: set[int] = set()
        self._problems: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="webhooks", daemon=True) if webhooks else None
        if self._thread is not None:
            self._thread.start()

    def send(self, record_id: int, record: OutboxRecord) -> bool:
        """Hand a record over; always taken. One that is on its way is not sent twice."""
        if record_id in self._sent:
            return True
        self._sent.add(record_id)
        name, delivery = webhook_of(record.topic), _Delivery(record_id, record, time.monotonic())
        if name not in self._webhooks:
            self._outcomes.put((delivery, f"there is no [drift.webhooks.{name}] any more"))
            return True
        self._loop.call_soon_threadsafe(self._queue, name, delivery)
        return True

    def take(self, timeout_ms: int = 0) -> tuple[list[int], list[Undelivered]]:
        """Ids of records that were taken since the last call, and what will not be.

        Waits at most `timeout_ms` for the first, if any is on its way.
        """
        taken: list[int] = []
        undelivered: list[Undelivered] = []
        while self._sent:
            try:
                delivery, reason = self._outcomes.get(timeout_ms > 0, timeout_ms / 1_000)
            except Empty:
                break
            timeout_ms = 0
            self._sent.discard(delivery.record_id)
            if reason:
                undelivered.append(Undelivered(delivery.record_id, delivery.record, reason))
            else:
                taken.append(delivery.record_id)
        return taken, undelivered

    def problem(self) -> str | None:
        """What keeps events from being taken, in words for an operator; None when nothing does."""
        return "; ".join(f"webhook {name}: {words}" for name, words in sorted(self._problems.items())) or None

    def close(self) -> None:
        """Let go of sockets and the thread; what was not taken stays in the outbox."""
        if self._thread is None:
            self._loop.close()
        else:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        """Run the loop until `close`, with the HTTP client ready: its import is slow beside a learner."""
        import stream.webhooks.posting  # noqa: F401

        loop = self._loop
        asyncio.set_event_loop(loop)
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()

    def _queue(self, name: str, delivery: _Delivery) -> None:
        """On the loop: let a delivery wait for its turn, in a task for each webhook."""
        if name not in self._queues:
            self._queues[name] = asyncio.Queue()
            asyncio.get_running_loop().create_task(self._serve(name))
        if self._queues[name].qsize() < WAITING_MAX:
            self._queues[name].put_nowait(delivery)
        else:
            self._outcomes.put((delivery, f"{WAITING_MAX} events wait for it already"))

    async def _serve(self, name: str) -> None:
        from stream.webhooks.posting import Poster

        queue = self._queues[name]
        async with Poster(self._webhooks[name]) as poster:
            while True:
                delivery = await queue.get()
                try:
                    reason = await self._deliver(poster, name, delivery)
                except Exception as error:
                    reason = f"posting failed in an unexpected way: {type(error).__name__}: {error}"
                self._problems.pop(name, None)
                self._outcomes.put((delivery, reason))

    async def _deliver(self, poster: "Poster", name: str, delivery: _Delivery) -> str:
        """Post until it is taken; why it will never be, or nothing."""
        pause_s = AGAIN_FIRST_S
        while True:
            refusal = await poster.post(delivery.record)
            if refusal is None:
                return ""
            waited_ms = (time.monotonic() - delivery.since_s) * 1_000
            if refusal.again_s is None:
                return refusal.reason
            if waited_ms >= self._webhooks[name].give_up_ms:
                return f"{refusal.reason}; given up after {waited_ms / 1_000:,.0f} s"
            self._problems[name] = f"{refusal.reason}; trying again"
            await asyncio.sleep(max(pause_s, min(refusal.again_s, AGAIN_MAX_S)))
            pause_s = min(2 * pause_s, AGAIN_MAX_S)
