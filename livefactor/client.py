"""A small client: publish interactions, ask for recommendations and scores, hear when the model goes wrong.

with Client("127.0.0.1:50051", kafka={"bootstrap.servers": "127.0.0.1:9092"}) as client:
    position = client.publish("ann", "film-7", "click")
    answer = client.recommend("ann", k=5, min_position=position)   # includes the click
    for event in client.watch_drift(min_severity="error"):
        page_someone(event.message)
"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from protos import drift_pb2, drift_pb2_grpc, events_pb2, scorer_pb2, scorer_pb2_grpc
from state.errors import ConfigError, ForkedError, ScorerError

if TYPE_CHECKING:
    from stream.kafka import KafkaPublisher, Setting

TOPIC = "livefactor.interactions.v1"
REPLY_BYTES_MAX = 64 << 20
KEEPALIVE_MS = 20_000
"""While a call waits the scorer is asked for a sign of life this often: a stream may end without a word."""

AGAIN_FIRST_S, AGAIN_MAX_S = 0.1, 5.0
"""Pause before a stream that broke is asked for again, doubled each time it breaks at once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """The next offset of one partition: an answer that has reached it includes everything before."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Meta:
    """Which state of the model answered."""

    version: str
    batch_seq: int
    positions: tuple[Position, ...]
    staleness_ms: int


@dataclass(frozen=True, slots=True)
class Recommendations:
    """The best items for a user, best first; `cold` when the user is unknown."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    cold: bool
    meta: Meta


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores in the order asked; `known[i]` tells whether item i has been seen; `cold` as above."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    known: tuple[bool, ...]
    cold: bool
    meta: Meta


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why an item has its `score` for a user: parts that add up to it but for rounding.

    `taste`: what has been learnt of the user; `recent`: how alike the item is to the last ones; `because`: of
    which of them people chose it next, most first, and what each adds; `popularity`: what everybody would be
    told; `had_before`: that the user had it, where that counts. `known` and `cold` as above.
    """

    score: float
    taste: float
    recent: float
    because: Mapping[str, float]
    popularity: float
    had_before: float
    known: bool
    cold: bool
    meta: Meta


class Client:
    """Speaks to a scorer, and to Kafka if `publish` is used. Safe to share between threads."""

    def __init__(
        self, address: str, kafka: "Mapping[str, Setting] | None" = None, topic: str = TOPIC
    ) -> None:
        """`address` is the scorer's host:port; `kafka` a table of librdkafka settings, needed to publish."""
        self._address, self._process = address, os.getpid()
        self._closed = threading.Event()
        self._channel = grpc.insecure_channel(address, options=_channel_options(address))
        self._scorer = scorer_pb2_grpc.ScorerStub(self._channel)  # type: ignore[no-untyped-call]
        self._drift = drift_pb2_grpc.DriftStub(self._channel)  # type: ignore[no-untyped-call]
        self._topic = topic
        self._publisher = _open_publisher(kafka) if kafka is not None else None

    def publish(
        self,
        user_id: str,
        item_id: str,
        event_type: str = "",
        value: float | None = None,
        *,
        event_time_ms: int = 0,
        event_id: str = "",
        timeout_s: float = 10.0,
    ) -> Position:
        """Publish one interaction, wait until a broker has it, and return the position just after it.

        Raises SourceError when no broker acknowledges it in time; it may arrive yet, so give it an `event_id`
        and publish it again: the learner learns an `event_id` once. Raises ConfigError without `kafka`.
        """
        self._require_own_process()
        if self._publisher is None:
            raise ConfigError('publishing needs Client(..., kafka={"bootstrap.servers": "host:port"})')
        interaction = events_pb2.Interaction(
            user_id=user_id,
            item_id=item_id,
            event_type=event_type,
            value=value,
            event_time_ms=event_time_ms,
            event_id=event_id,
        )
        where, offset = self._publisher.deliver(
            self._topic, user_id.encode(), interaction.SerializeToString(), round(timeout_s * 1000)
        )
        return Position(where.topic, where.partition, offset)

    def recommend(
        self,
        user_id: str,
        k: int = 10,
        *,
        include_seen: bool = False,
        min_position: Position | Iterable[Position] | None = None,
        max_staleness_ms: int | None = None,
        timeout_s: float = 5.0,
    ) -> Recommendations:
        """The `k` best items for a user, without those already interacted with unless `include_seen`.

        With `min_position` (what `publish` returned) the answer waits, at most `timeout_s`, until it
        includes that event. Raises ScorerError.
        """
        request = scorer_pb2.RecommendRequest(user_id=user_id, k=k, include_seen=include_seen)
        answer = self._call(self._scorer.Recommend, request, min_position, max_staleness_ms, timeout_s)
        return Recommendations(tuple(answer.item_ids), tuple(answer.scores), answer.cold, _meta(answer.meta))

    def score(
        self,
        user_id: str,
        item_ids: Sequence[str],
        *,
        min_position: Position | Iterable[Position] | None = None,
        max_staleness_ms: int | None = None,
        timeout_s: float = 5.0,
    ) -> Scores:
        """Scores of some items for a user. Raises ScorerError."""
        request = scorer_pb2.ScoreRequest(user_id=user_id, item_ids=item_ids)
        answer = self._call(self._scorer.Score, request, min_position, max_staleness_ms, timeout_s)
        return Scores(
            tuple(item_ids), tuple(answer.scores), tuple(answer.known), answer.cold, _meta(answer.meta)
        )

    def explain(
        self,
        user_id: str,
        item_id: str,
        *,
        min_position: Position | Iterable[Position] | None = None,
        max_staleness_ms: int | None = None,
        timeout_s: float = 5.0,
    ) -> Reasons:
        """Why an item has its score for a user. Raises ScorerError."""
        request = scorer_pb2.ExplainRequest(user_id=user_id, item_id=item_id)
        answer = self._call(self._scorer.Explain, request, min_position, max_staleness_ms, timeout_s)
        return Reasons(
            answer.score,
            answer.taste,
            answer.recent,
            dict(zip(answer.because, answer.because_scores, strict=True)),
            answer.popularity,
            answer.had_before,
            answer.known,
            answer.cold,
            _meta(answer.meta),
        )

    def drift_events(self, *, timeout_s: float = 5.0) -> list[events_pb2.DriftEvent]:
        """The latest drift events that the store keeps, oldest first. Raises ScorerError."""
        return list(self._ask(self._drift.List, drift_pb2.ListDriftRequest(), timeout_s).events)

    def watch_drift(
        self, after_id: str | None = None, *, actions: Iterable[str] = (), min_severity: str = "info"
    ) -> Iterator[events_pb2.DriftEvent]:
        """Drift events as they are raised, until the client is closed.

        If the scorer is away this waits for it, and says so in a warning of this module's logger. Begins with
        what is raised from now on, or after an event, or with "" with the oldest that is kept. `actions` are
        of "WARN", "RETRAIN", "ROLLBACK" and "NONE", none means all; `min_severity` is "info", "warning" or
        "error". An event without an id, of the reason "events_missed", says that some are no longer kept
        which should have come.

        Raises ScorerError if the scorer refuses, and ValueError for names that there are not.
        """
        request = drift_pb2.WatchDriftRequest(
            actions=[f"DRIFT_ACTION_{name.upper()}" for name in actions],
            min_severity=f"SEVERITY_{min_severity.upper()}",
        )
        self._require_own_process()
        return self._watch(request, after_id)

    def _watch(
        self, request: drift_pb2.WatchDriftRequest, after_id: str | None
    ) -> Iterator[events_pb2.DriftEvent]:
        pause_s, said = AGAIN_FIRST_S, ""
        while not self._closed.is_set():
            try:
                if after_id is None:
                    latest = self._drift.List(drift_pb2.ListDriftRequest()).events
                    after_id = latest[-1].id if latest else ""
                request.after_id = after_id
                for event in self._drift.Watch(request):
                    pause_s, said, after_id = AGAIN_FIRST_S, "", event.id or after_id
                    yield event
            except grpc.RpcError as error:
                if self._closed.is_set():
                    return
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise self._error_of(error) from error
                problem = str(self._error_of(error))
                if problem != said:
                    _log.warning("waiting for drift events: %s", problem)
                said = problem
            self._closed.wait(pause_s)
            pause_s = min(2 * pause_s, AGAIN_MAX_S)

    def close(self) -> None:
        """Let go of connections, and end what watches; what was published has been acknowledged already."""
        self._closed.set()
        self._channel.close()
        if self._publisher is not None:
            self._publisher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_own_process(self) -> None:
        if os.getpid() != self._process:
            raise ForkedError(
                "this client was made in another process, and its threads stayed there: make a client after "
                "the fork, in each worker"
            )

    def _call(
        self,
        method: Any,
        request: Any,
        min_position: Position | Iterable[Position] | None,
        max_staleness_ms: int | None,
        timeout_s: float,
    ) -> Any:
        """The reply to a request, which gets the demands that all calls have."""
        request.min_position.extend(_to_wire(min_position))
        if max_staleness_ms is not None:
            request.max_staleness_ms = max_staleness_ms
        return self._ask(method, request, timeout_s)

    def _ask(self, method: Any, request: Any, timeout_s: float) -> Any:
        """The reply to a request. Raises ScorerError."""
        self._require_own_process()
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._error_of(error) from error

    def _error_of(self, error: Any) -> ScorerError:
        """What a call ended with, in words."""
        code, details = error.code().name, error.details()
        if code == "UNAVAILABLE":
            details = (
                f"{self._address} has no answer yet: {details}; "
                "if no scorer runs there, start `livefactor serve`, or correct the address"
            )
        return ScorerError(f"{details} ({code})", code)


def _channel_options(address: str) -> list[tuple[str, int]]:
    """Room for long lists; and no proxy between processes of one machine, whatever http_proxy says."""
    host = address.rpartition(":")[0].strip("[]")
    is_loopback = host == "localhost" or host == "::1" or host.startswith("127.")
    options = [("grpc.max_receive_message_length", REPLY_BYTES_MAX), ("grpc.keepalive_time_ms", KEEPALIVE_MS)]
    return [*options, ("grpc.enable_http_proxy", 0)] if is_loopback else options


def _open_publisher(kafka: "Mapping[str, Setting]") -> "KafkaPublisher":
    """A producer; made early, because its first contact with a broker takes up to half a second."""
    from stream.kafka import KafkaPublisher

    return KafkaPublisher(kafka)


def _to_wire(positions: Position | Iterable[Position] | None) -> list[events_pb2.Position]:
    if positions is None:
        return []
    several = [positions] if isinstance(positions, Position) else positions
    return [events_pb2.Position(topic=p.topic, partition=p.partition, offset=p.offset) for p in several]


def _meta(meta: scorer_pb2.Meta) -> Meta:
    positions = tuple(Position(p.topic, p.partition, p.offset) for p in meta.positions)
    return Meta(meta.version, meta.batch_seq, positions, meta.staleness_ms)
