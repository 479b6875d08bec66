"""The Scorer on the wire: requests into values, values into replies, and what is refused and why.

INVALID_ARGUMENT      a field is wrong: which one, what its limit is, what to do
FAILED_PRECONDITION   the state is not where `min_position` or `max_staleness_ms` want it
UNAVAILABLE           no model has been loaded yet: what is missing
DEADLINE_EXCEEDED     the deadline was over before the work began
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

from protos import scorer_pb2 as wire
from protos.events_pb2 import Position
from serving.calls import CALLS, Call, Moment, Request
from serving.config import ServingConfig
from serving.refresh import Follower
from serving.replica import Replica
from serving.rpc import Context, loaded, refuse, unary
from state.store import Head, TopicPartition

SERVICE_NAME = "livefactor.v1.Scorer"

_WAIT_MAX_S = 5.0
"""How long `min_position` may wait in a call without a deadline."""

_ANSWER_SHARE = 0.1
"""Part of the time left that a wait leaves for the refusal to travel back."""

_ANSWER_MAX_S = 0.1

Clock = Callable[[], int]
"""Milliseconds since the Unix epoch."""


class ScorerService:
    """Answers every call from the follower's replica."""

    def __init__(self, follower: Follower, config: ServingConfig, topic: str, now_ms: Clock) -> None:
        """`topic`: the interactions topic, whose positions every reply carries."""
        self._follower, self._config, self._topic, self._now_ms = follower, config, topic, now_ms

    def handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """All methods; unlike the generated registration, bytes that are no request get INVALID_ARGUMENT."""
        methods = {name: unary(call.request, partial(self.answer, call)) for name, call in CALLS.items()}
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    async def answer(self, call: Call[Any], request: Request, context: Context) -> Message:
        """The reply to one request, from one state of the model."""
        replica = await self._admit(context, request, call.wrong(request, self._config))
        return call.answer(request, Moment(replica, self._meta(replica.head), self._now_ms()))

    async def _admit(self, context: Context, request: Request, wrong: str) -> Replica:
        """The replica that may answer the request now; there must be no await between this and the answer."""
        left_s = context.time_remaining()
        if left_s is not None and left_s <= 0:
            await refuse(
                context, grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline was over before the work began"
            )
        wrong = wrong or wrong_demands(request)
        if wrong:
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, wrong)
        replica = await loaded(self._follower, context)
        wrong = wrong_topics(
            request.min_position, {self._topic, *(topic for topic, _ in replica.head.offsets)}
        )
        if wrong:
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, wrong)
        wait_s = _WAIT_MAX_S if left_s is None else left_s - min(_ANSWER_MAX_S, left_s * _ANSWER_SHARE)
        await self._wait_for(request.min_position, wait_s)
        replica = await loaded(self._follower, context)
        behind = missing_position(request.min_position, replica.head) or self._too_stale(
            request, replica.head
        )
        if behind:
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, behind)
        return replica

    async def _wait_for(self, positions: Sequence[Position], wait_s: float) -> None:
        """Return when the replica includes everything before `positions`, or when the time is over."""
        try:
            async with asyncio.timeout(wait_s):
                while (replica := self._follower.replica) and missing_position(positions, replica.head):
                    await self._follower.refreshed()
        except TimeoutError:
            return

    def _too_stale(self, request: Request, head: Head) -> str:
        age_ms = staleness_ms(head, self._topic, self._now_ms())
        if not request.HasField("max_staleness_ms") or age_ms <= request.max_staleness_ms:
            return ""
        return (
            f"the state is {age_ms} ms old and max_staleness_ms is {request.max_staleness_ms}: "
            "accept an older answer, or see whether the learner runs and keeps up"
        )

    def _meta(self, head: Head) -> wire.Meta:
        return wire.Meta(
            version=str(head.version),
            batch_seq=head.batch_seq,
            positions=[
                Position(topic=topic, partition=partition, offset=offset)
                for (topic, partition), offset in sorted(head.offsets.items())
                if topic == self._topic
            ],
            staleness_ms=staleness_ms(head, self._topic, self._now_ms()),
        )


def staleness_ms(head: Head, topic: str, now_ms: int) -> int:
    """Now minus the time through which the topic's slowest partition has been applied; at least 0.

    A store that has never said how far a partition is counts as old as the Unix epoch: never take it for
    fresh.
    """
    applied = [head.applied_through_ms.get(where, 0) for where in head.offsets if where.topic == topic]
    return max(0, now_ms - min(applied, default=0))


def wrong_demands(request: Request) -> str:
    """What is wrong with `min_position` and `max_staleness_ms`, in words; empty if nothing is."""
    if request.HasField("max_staleness_ms") and request.max_staleness_ms < 0:
        return f"max_staleness_ms is {request.max_staleness_ms}, below 0: leave it out to accept any age"
    for i, position in enumerate(request.min_position):
        if position.partition < 0 or position.offset < 0:
            return (
                f"min_position[{i}] is {_shown(position)}, and neither partition nor offset can be below 0: "
                "pass the position that publishing returned"
            )
    return ""


def wrong_topics(positions: Iterable[Position], topics: set[str]) -> str:
    """Which position is in a topic that the store does not consume, in words; empty if none is."""
    for i, position in enumerate(positions):
        if position.topic not in topics:
            return (
                f'min_position[{i}].topic is "{position.topic}", which this model does not consume; '
                f"it consumes {', '.join(sorted(topics))}: correct the topic"
            )
    return ""


def missing_position(positions: Iterable[Position], head: Head) -> str:
    """Which position the state has not reached, in words that name both; empty if it has reached all.

    A partition without an offset has had nothing consumed from it, which is where offset 0 is.
    """
    for position in positions:
        reached = head.offsets.get(TopicPartition(position.topic, position.partition), 0)
        if reached < position.offset:
            return (
                f"min_position asks for {_shown(position)} and the state is at offset {reached} there: "
                "try again with a longer deadline, or see whether the learner runs and the partition exists"
            )
    return ""


def _shown(position: Position) -> str:
    return f"{position.topic}/{position.partition} offset {position.offset}"
