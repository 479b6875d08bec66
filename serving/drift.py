"""Drift events on the wire: `livefactor.v1.Drift`.

The store keeps the latest events; whoever watches is a cursor into them. So a watcher that reads slowly
costs one event in flight and no queue, and is told what it has missed meanwhile.

INVALID_ARGUMENT      the interval of heartbeats has a limit
RESOURCE_EXHAUSTED    too many watch already
UNAVAILABLE           no model has been loaded yet, or the scorer stops: watch again, after the last id
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from protos.drift_pb2 import ListDriftRequest, ListDriftResponse, WatchDriftRequest
from protos.events_pb2 import DriftEvent, DriftEvents
from serving.cursor import HEARTBEAT, Cursor, selected
from serving.refresh import Follower
from serving.rpc import Context, loaded, refuse, stream, unary
from state.store import DRIFT_EVENTS_MEMO

SERVICE_NAME = "livefactor.v1.Drift"

HEARTBEAT_MIN_MS, HEARTBEAT_MAX_MS = 100, 3_600_000


class DriftFeed:
    """The latest drift events of the store that is followed, for any number of watchers.

    `changed` is set when something happens from now on: other events are kept, or the feed is `closed`.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._packed = b""
        self.changed = asyncio.Event()
        self.kept = DriftEvents()
        self.closed = False

    async def follow(self) -> None:
        """Look after each refresh, for ever."""
        while True:
            self.look()
            await self._follower.refreshed()

    def look(self) -> None:
        """Take over what the store keeps now."""
        replica = self._follower.replica
        packed = replica.head.memo.get(DRIFT_EVENTS_MEMO, b"") if replica else self._packed
        if packed != self._packed:
            self._packed, self.kept = packed, DriftEvents.FromString(packed)
            self._ring()

    def close(self) -> None:
        """Send everyone away."""
        self.closed = True
        self._ring()

    def _ring(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class DriftService:
    """Answers from a feed."""

    def __init__(self, follower: Follower, feed: DriftFeed, watchers_max: int) -> None:
        self._follower, self._feed = follower, feed
        self._watchers_max, self._watchers = watchers_max, 0

    def handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """All methods."""
        methods = {
            "Watch": stream(WatchDriftRequest, self.watch),
            "List": unary(ListDriftRequest, self.list_events),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    async def list_events(self, request: ListDriftRequest, context: Context) -> ListDriftResponse:
        """The events that are kept, oldest first."""
        await self._require_events(context)
        events = self._feed.kept.events
        return ListDriftResponse(
            events=[event for event in events if selected(event, request.actions, request.min_severity)]
        )

    async def watch(self, request: WatchDriftRequest, context: Context) -> AsyncIterator[DriftEvent]:
        """Events as they are raised."""
        if request.heartbeat_ms and not HEARTBEAT_MIN_MS <= request.heartbeat_ms <= HEARTBEAT_MAX_MS:
            message = (
                f"heartbeat_ms is {request.heartbeat_ms}, allowed are {HEARTBEAT_MIN_MS} to "
                f"{HEARTBEAT_MAX_MS}, and 0 for none: correct it"
            )
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, message)
        await self._require_events(context)
        if self._watchers >= self._watchers_max:
            message = (
                f"{self._watchers} watch already, which is all that serving.watchers_max allows: "
                "raise it, or subscribe to the topic of drift events"
            )
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, message)
        self._watchers += 1
        try:
            async for event in self._events(request, context):
                yield event
        finally:
            self._watchers -= 1

    async def _events(self, request: WatchDriftRequest, context: Context) -> AsyncIterator[DriftEvent]:
        feed, heartbeat_s = self._feed, request.heartbeat_ms / 1_000 or None
        cursor = Cursor(feed.kept, request.after_id if request.HasField("after_id") else None)
        while not feed.closed:
            changed = feed.changed
            for event in cursor.advance(feed.kept):
                if not event.id or selected(event, request.actions, request.min_severity):
                    yield event
            try:
                await asyncio.wait_for(changed.wait(), heartbeat_s)
            except TimeoutError:
                yield DriftEvent(reason=HEARTBEAT)
        message = "the scorer stops: watch again, after the id of the last event that came"
        await refuse(context, grpc.StatusCode.UNAVAILABLE, message)

    async def _require_events(self, context: Context) -> None:
        """Refuse before any model has been loaded; else know the events of the one that is there."""
        await loaded(self._follower, context)
        self._feed.look()
