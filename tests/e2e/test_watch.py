"""Watching for drift events: a scorer process on a real store, and whoever asks it."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from scorer_process import REPOSITORY, ScorerProcess, printing, until
from toy_model import IDENTITY, ToyModel, state_config

from livefactor import Client
from protos.drift_pb2 import ListDriftRequest, WatchDriftRequest
from protos.drift_pb2_grpc import DriftStub
from protos.events_pb2 import (
    DRIFT_ACTION_RETRAIN,
    DRIFT_ACTION_WARN,
    SEVERITY_ERROR,
    SEVERITY_WARNING,
    DriftEvent,
    DriftEvents,
    Position,
)
from state.rocksdb.writer import RocksWriter
from state.store import DRIFT_EVENTS_MEMO

TIMEOUT_S = 30.0
KEPT = 50
SERVICE = "livefactor.v1.Drift"


class Store:
    """A store into which drift events are raised, as a learner does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.writer = RocksWriter(state_config(directory), IDENTITY)
        self.toy = ToyModel()
        self.toy.commit(self.writer, ["u0"], ["i0"])
        self.events: list[DriftEvent] = []

    def raise_event(self, **fields: Any) -> str:
        """The id of a new event."""
        event = DriftEvent(
            **{
                "id": f"e{len(self.events)}",
                "action": DRIFT_ACTION_RETRAIN,
                "severity": SEVERITY_ERROR,
                "reason": "taste_lost",
                "time_ms": 1_600_000_000_000,
                **fields,
            }
        )
        self.events.append(event)
        memo = DriftEvents(events=self.events[-KEPT:], raised=len(self.events)).SerializeToString()
        self.toy.commit(self.writer, memo={DRIFT_EVENTS_MEMO: memo})
        return event.id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.writer.close()


@contextmanager
def scorer_of(store: Store, **serving: Any) -> Iterator[ScorerProcess]:
    with ScorerProcess(store.directory, **serving) as scorer:
        health = health_pb2_grpc.HealthStub(scorer.channel)
        asked = health_pb2.HealthCheckRequest(service=SERVICE)
        until(lambda: health.Check(asked).status == health_pb2.HealthCheckResponse.SERVING)
        yield scorer


class Watcher:
    """Reads a stream in a thread; what came and how it ended can be waited for."""

    def __init__(self, stream: Any) -> None:
        self.came: Queue[Any] = Queue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Any) -> None:
        try:
            for event in stream:
                self.came.put(event)
        except Exception as error:
            self.came.put(error)

    def next(self) -> Any:
        return self.came.get(timeout=TIMEOUT_S)


def watching(scorer: ScorerProcess, **fields: Any) -> Watcher:
    """A watcher that the scorer has let in, with all that is kept behind it."""
    stream = DriftStub(scorer.channel).Watch(WatchDriftRequest(heartbeat_ms=100, **fields), timeout=TIMEOUT_S)
    assert next(stream).reason == "heartbeat"
    return Watcher(event for event in stream if event.reason != "heartbeat")


def test_watchers_get_what_they_want_as_it_is_raised(store: Store) -> None:
    store.raise_event()
    with scorer_of(store) as scorer:
        everyone = watching(scorer)
        alarmed = watching(scorer, min_severity=SEVERITY_ERROR)
        warned = watching(scorer, actions=[DRIFT_ACTION_WARN])
        store.raise_event(action=DRIFT_ACTION_WARN, severity=SEVERITY_WARNING)
        store.raise_event(action=DRIFT_ACTION_WARN, severity=SEVERITY_ERROR)
        store.raise_event()
        assert [everyone.next().id for _ in range(3)] == ["e1", "e2", "e3"]
        assert [alarmed.next().id for _ in range(2)] == ["e2", "e3"]
        assert [warned.next().id for _ in range(2)] == ["e1", "e2"]
        stub = DriftStub(scorer.channel)
        kept = stub.List(ListDriftRequest(), timeout=TIMEOUT_S).events
        assert list(kept) == store.events
        errors = stub.List(ListDriftRequest(min_severity=SEVERITY_ERROR), timeout=TIMEOUT_S).events
        assert [event.id for event in errors] == ["e0", "e2", "e3"]


def test_a_watcher_goes_on_after_an_event(store: Store) -> None:
    for _ in range(3):
        store.raise_event()
    with scorer_of(store) as scorer:
        stub = DriftStub(scorer.channel)
        for after, expected in (("", "e0"), ("e0", "e1"), ("e1", "e2")):
            stream = stub.Watch(WatchDriftRequest(after_id=after), timeout=TIMEOUT_S)
            assert next(stream).id == expected
            stream.cancel()
        stream = stub.Watch(WatchDriftRequest(after_id="lost"), timeout=TIMEOUT_S)
        assert [event.reason for event, _ in zip(stream, range(2), strict=False)] == [
            "events_missed",
            "taste_lost",
        ]


def test_a_watcher_that_does_not_read_is_told_what_it_missed(store: Store) -> None:
    """It costs the scorer what the connection takes, and nobody else waits for it."""
    of_one_size = [("grpc.http2.bdp_probe", 0)]  # otherwise a connection takes more and more
    with scorer_of(store) as scorer, grpc.insecure_channel(scorer.address, of_one_size) as channel:
        slow = DriftStub(channel).Watch(WatchDriftRequest(after_id=""), timeout=4 * TIMEOUT_S)
        stub = DriftStub(scorer.channel)
        other = watching(scorer)
        for n in range(4 * KEPT):
            raised = store.raise_event(message="x" * 50_000)
            if n % 10 == 9:
                until(lambda: raised in {event.id for event in stub.List(ListDriftRequest()).events})  # noqa: B023
        received, missed = 0, 0
        for event in slow:
            if event.id:
                received += 1
            else:
                assert event.reason == "events_missed"
                missed += int(event.message.split()[0])
            if event.id == raised:
                break
        assert missed > KEPT
        assert received + missed == 4 * KEPT
        assert other.next().id == "e0"


def test_too_many_watchers_and_bad_requests_are_refused_in_words(store: Store) -> None:
    with scorer_of(store, watchers_max=1) as scorer:
        stub = DriftStub(scorer.channel)
        first = stub.Watch(WatchDriftRequest(heartbeat_ms=100), timeout=TIMEOUT_S)
        assert next(first).reason == "heartbeat"
        with pytest.raises(grpc.RpcError, match=r"serving\.watchers_max") as caught:
            next(stub.Watch(WatchDriftRequest(), timeout=TIMEOUT_S))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        for heartbeat_ms in (-1, 99, 3_600_001):
            with pytest.raises(grpc.RpcError, match="heartbeat_ms is") as caught:
                next(stub.Watch(WatchDriftRequest(heartbeat_ms=heartbeat_ms), timeout=TIMEOUT_S))
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        raw = scorer.channel.unary_stream(f"/{SERVICE}/Watch")
        with pytest.raises(grpc.RpcError, match=r"no livefactor\.v1\.WatchDriftRequest"):
            next(raw(b"\x0a\x02\xff\xfe", timeout=TIMEOUT_S))

        def let_in() -> bool:
            """The one who has hung up no longer counts."""
            try:
                stream = stub.Watch(WatchDriftRequest(heartbeat_ms=100), timeout=TIMEOUT_S)
                return next(stream).reason == "heartbeat"
            except grpc.RpcError:
                return False

        until(let_in)


def test_a_scorer_that_stops_sends_watchers_away_at_once(store: Store) -> None:
    with scorer_of(store, drain_ms=60_000) as scorer:
        watcher = watching(scorer)
        scorer.terminate()
        ended = watcher.next()
        assert ended.code() == grpc.StatusCode.UNAVAILABLE
        assert "watch again" in ended.details()
        code, error = scorer.wait()
        assert code == 0, error


def test_without_a_model_there_is_nothing_to_watch_yet(tmp_path: Path) -> None:
    with ScorerProcess(tmp_path) as scorer:
        stub = DriftStub(scorer.channel)
        for call in (
            lambda: next(stub.Watch(WatchDriftRequest(), timeout=TIMEOUT_S)),
            lambda: stub.List(ListDriftRequest(), timeout=TIMEOUT_S),
        ):
            with pytest.raises(grpc.RpcError, match="no model has been loaded yet") as caught:
                call()
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_the_client_waits_for_a_scorer_that_went_away_and_misses_nothing(store: Store) -> None:
    store.raise_event()
    with scorer_of(store) as first, Client(first.address) as client:
        assert [event.id for event in client.drift_events()] == ["e0"]
        watcher = Watcher(client.watch_drift())
        until(lambda: store.raise_event() and not watcher.came.empty())
        first.process.kill()
        first.process.wait()
        raised = store.raise_event()
        with scorer_of(store, listen=first.address):
            came = [watcher.next().id]
            while came[-1] != raised:
                came.append(watcher.next().id)
    assert came == [event.id for event in store.events][-len(came) :]
    assert len(came) > 1


@pytest.mark.parametrize("scorer_runs", [True, False])
def test_closing_a_client_ends_what_it_watches(store: Store, scorer_runs: bool) -> None:
    store.raise_event()
    ended: Queue[str] = Queue()
    with scorer_of(store) as scorer:
        client = Client(scorer.address)
        if not scorer_runs:
            scorer.process.kill()
            scorer.process.wait()

        def watch() -> None:
            for event in client.watch_drift(""):
                ended.put(event.id)
            ended.put("ended")

        threading.Thread(target=watch, daemon=True).start()
        if scorer_runs:
            assert ended.get(timeout=TIMEOUT_S) == "e0"
        client.close()
        assert ended.get(timeout=TIMEOUT_S) == "ended"


@pytest.mark.parametrize(
    ("wanted", "words"), [({"actions": ["BURN"]}, "BURN"), ({"min_severity": "fatal"}, "FATAL")]
)
def test_the_client_knows_actions_and_severities(wanted: dict[str, Any], words: str) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match=words):
        client.watch_drift(**wanted)


def test_the_example_in_the_documentation_prints_errors(store: Store) -> None:
    store.raise_event(action=DRIFT_ACTION_WARN, severity=SEVERITY_WARNING)
    store.raise_event(message="it lost its lead", positions=[Position(topic="t", partition=2, offset=7)])
    with scorer_of(store) as scorer:
        example = str(REPOSITORY / "docs" / "subscribers" / "watch.py")
        with printing(sys.executable, example, scorer.address, "") as line:
            assert line() == "taste_lost: it lost its lead"
            assert line() == "  since t/2 offset 7"


def test_the_command_prints_events_as_they_come(store: Store) -> None:
    store.raise_event(message="bad\x1b[31m")
    store.raise_event(action=DRIFT_ACTION_WARN, severity=SEVERITY_WARNING)
    with scorer_of(store) as scorer:
        command = [sys.executable, "-m", "livefactor.cli", "drift", "watch", "--after", ""]
        setting = ["--set", f"serving.listen={scorer.address}"]
        for arguments, check in (
            (["--json"], lambda line: json.loads(line)["id"] == "e0"),
            (["--action", "warn"], lambda line: line.split("\t")[1:3] == ["warning", "WARN"]),
            (["--min-severity", "error"], lambda line: "bad\\x1b[31m" in line),
        ):
            with printing(*command, *arguments, *setting) as line:
                assert check(line())
