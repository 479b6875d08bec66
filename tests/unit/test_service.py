"""What the scorer's service decides by itself, without a network."""

import asyncio
from typing import Never

import grpc
import pytest
from toy_model import IDENTITY, TOPIC, ToyModel

from protos.drift_pb2 import ListDriftRequest
from protos.events_pb2 import DriftEvent, DriftEvents
from protos.scorer_pb2 import DESCRIPTOR, RecommendRequest, ScoreRequest
from serving.calls import CALLS
from serving.config import ServingConfig
from serving.drift import DriftFeed, DriftService
from serving.refresh import Follower
from serving.replica import Bounds
from serving.service import ScorerService, staleness_ms
from state.errors import StoreMissingError
from state.memory import MemoryStore
from state.store import DRIFT_EVENTS_MEMO, Head, Reader, TopicPartition

NOW_MS = 1_000_000


class RefusedError(Exception):
    """What `abort` raises: the call ends there."""


class Call:
    """The part of a call that the service looks at: the time left, and being refused."""

    def __init__(self, left_s: float | None) -> None:
        self.left_s = left_s
        self.code: grpc.StatusCode | None = None
        self.message = ""

    def time_remaining(self) -> float | None:
        return self.left_s

    async def abort(self, code: grpc.StatusCode, message: str) -> Never:
        self.code, self.message = code, message
        raise RefusedError


def no_store() -> Reader:
    raise StoreMissingError("there is none")


def service() -> ScorerService:
    """A service whose follower has found no store yet."""
    follower = Follower(no_store, lambda: 1, Bounds(rows_max=100, items_max=10, overlay_bytes_max=1 << 20))
    return ScorerService(follower, ServingConfig(), TOPIC, lambda: NOW_MS)


@pytest.mark.parametrize("left_s", [0.0, -0.5])
def test_a_deadline_that_is_over_is_refused_before_anything_else(left_s: float) -> None:
    for name, request in (
        ("Recommend", RecommendRequest(user_id="u", k=-1)),
        ("Score", ScoreRequest(user_id="")),
    ):
        call = Call(left_s)
        with pytest.raises(RefusedError):
            asyncio.run(service().answer(CALLS[name], request, call))
        assert call.code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "before the work began" in call.message


@pytest.mark.parametrize("left_s", [None, 5.0])
def test_with_time_left_the_next_check_speaks(left_s: float | None) -> None:
    call = Call(left_s)
    with pytest.raises(RefusedError):
        asyncio.run(service().answer(CALLS["Recommend"], RecommendRequest(user_id="u", k=5), call))
    assert call.code == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("offsets", "applied", "expected"),
    [
        ({0: 5, 1: 5}, {0: NOW_MS - 10, 1: NOW_MS - 70}, 70),
        ({0: 5, 1: 0}, {0: NOW_MS - 10}, NOW_MS),
        ({0: 5}, {}, NOW_MS),
        ({}, {}, NOW_MS),
        ({0: 5}, {0: NOW_MS + 10}, 0),
    ],
)
def test_staleness_is_that_of_the_slowest_partition_and_the_epochs_where_none_is_known(
    offsets: dict[int, int], applied: dict[int, int], expected: int
) -> None:
    def of_topic(numbers: dict[int, int]) -> dict[TopicPartition, int]:
        return {TopicPartition(TOPIC, p): number for p, number in numbers.items()} | {
            TopicPartition("other", 0): 1
        }

    head = Head(1, 1, 0, "g1.0", of_topic(offsets), {}, of_topic(applied))
    assert staleness_ms(head, TOPIC, NOW_MS) == expected


def test_drift_events_are_those_of_the_replica_that_answers() -> None:
    """Also when nobody has looked since it was loaded."""

    async def listed() -> list[str]:
        store, toy = MemoryStore(IDENTITY), ToyModel()
        memo = DriftEvents(events=[DriftEvent(id="e")], raised=1).SerializeToString()
        toy.commit(store, ["u"], ["i"], memo={DRIFT_EVENTS_MEMO: memo})
        bounds = Bounds(rows_max=5_000, items_max=1_000, overlay_bytes_max=1 << 20)
        follower = Follower(store.reader, lambda: 1, bounds)
        watched = DriftService(follower, DriftFeed(follower), watchers_max=1)
        follower.refresh()
        reply = await watched.list_events(ListDriftRequest(), Call(None))
        return [event.id for event in reply.events]

    assert asyncio.run(listed()) == ["e"]


def test_every_method_of_the_proto_is_a_call() -> None:
    """With a request of the type that the proto gives it."""
    methods = DESCRIPTOR.services_by_name["Scorer"].methods
    assert {method.name: method.input_type for method in methods} == {
        name: call.request.DESCRIPTOR for name, call in CALLS.items()
    }
