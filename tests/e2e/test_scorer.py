"""The scorer as a process, on a real store that this process writes."""

import contextlib
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from scorer_process import ScorerProcess, first_line, spawn, until
from thread_states import is_stopped
from toy_model import IDENTITY, TOPIC, ToyModel, state_config

from livefactor import Client
from protos.events_pb2 import Position
from protos.scorer_pb2 import RecommendRequest, RecommendResponse, ScoreRequest, ScoreResponse
from protos.scorer_pb2_grpc import ScorerStub
from state.errors import ScorerError
from state.rocksdb.writer import RocksWriter
from state.store import TopicPartition

USERS = [f"u{i}" for i in range(20)]
ITEMS = [f"i{i}" for i in range(40)]
PARTITION = TopicPartition(TOPIC, 0)
TIMEOUT_S = 20.0
NOT_SERVING, SERVING = (
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVING,
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class World:
    """A store, the model in it, and a scorer that follows it."""

    def __init__(self, directory: Path, **serving: Any) -> None:
        self.directory = directory
        self.writer = RocksWriter(state_config(directory), IDENTITY)
        self.toy = ToyModel()
        self.toy.commit(self.writer, USERS[:15], ITEMS)
        self.toy.flush(self.writer)
        self.toy.commit(self.writer, USERS[10:], ITEMS[:5])
        self.writer.heartbeat({PARTITION: now_ms()})
        self.scorer = ScorerProcess(directory, **serving)

    def __enter__(self) -> "World":
        try:
            self.scorer.__enter__()
            until(lambda: health_of(self.scorer) == SERVING)
        except BaseException:
            self.writer.close()
            raise
        self.stub = ScorerStub(self.scorer.channel)
        return self

    def __exit__(self, *error: Any) -> None:
        self.scorer.__exit__(*error)
        self.writer.close()

    def recommend(
        self, user_id: str, k: int = 5, timeout: float = TIMEOUT_S, **fields: Any
    ) -> RecommendResponse:
        return self.stub.Recommend(RecommendRequest(user_id=user_id, k=k, **fields), timeout=timeout)

    def score(self, user_id: str, item_ids: list[str], **fields: Any) -> ScoreResponse:
        return self.stub.Score(ScoreRequest(user_id=user_id, item_ids=item_ids, **fields), timeout=TIMEOUT_S)

    def commit(self, *arguments: Any, **fields: Any) -> Position:
        """Commit a batch; the position that is reached with it."""
        self.toy.commit(self.writer, *arguments, **fields)
        return Position(topic=TOPIC, partition=0, offset=self.toy.offset)

    def settle(self) -> None:
        """Wait until the scorer has seen every commit."""
        until(lambda: self.recommend("u0").meta.batch_seq == self.toy.batch_seq)


def health_of(scorer: ScorerProcess, service: str = "livefactor.v1.Scorer") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(scorer.channel).Check(request, timeout=TIMEOUT_S).status


def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("store"), request_bytes_max=200_000) as running:
        yield running


@pytest.mark.parametrize("user_id", ["u0", "u12", "u17"])
@pytest.mark.parametrize("include_seen", [True, False])
def test_recommend_agrees_with_brute_force(world: World, user_id: str, include_seen: bool) -> None:
    """u0's row is in the row family only, u12's in both, u17's in the journal only."""
    world.settle()
    reply = world.recommend(user_id, k=12, include_seen=include_seen)
    expected = world.toy.scores(user_id)
    assert list(reply.item_ids) == world.toy.best(user_id, 12, include_seen)
    np.testing.assert_allclose(reply.scores, [expected[name] for name in reply.item_ids], atol=1e-4)
    assert not reply.cold


def test_score_agrees_with_brute_force_and_marks_unknown_items(world: World) -> None:
    world.settle()
    reply = world.score("u3", ["i7", "never seen", "i1", "i7"])
    expected = world.toy.scores("u3")
    np.testing.assert_allclose(reply.scores, [expected["i7"], 0, expected["i1"], expected["i7"]], atol=1e-4)
    assert list(reply.known) == [True, False, True, True]
    assert not reply.cold


def test_an_unknown_user_gets_what_is_popular_and_is_told_so(world: World) -> None:
    world.settle()
    reply = world.recommend("a stranger", k=6)
    assert reply.cold
    assert list(reply.item_ids) == world.toy.popular(6)
    scores = world.score("a stranger", [*reply.item_ids, "never seen"])
    assert scores.cold
    assert list(scores.scores) == [*reply.scores, 0.0]


def test_more_items_than_there_are_is_all_of_them(world: World) -> None:
    assert set(world.recommend("u0", k=1_000, include_seen=True).item_ids) == set(ITEMS)


def test_every_reply_says_which_state_answered(world: World) -> None:
    position = world.commit(["u1"])
    world.writer.heartbeat({PARTITION: now_ms() - 5_000})
    meta = world.recommend("u0", min_position=[position]).meta
    assert meta.batch_seq == world.toy.batch_seq
    assert meta.version == str(world.writer.head().version)
    assert list(meta.positions) == [position]
    assert 5_000 <= meta.staleness_ms < 60_000
    assert world.score("u0", ["i0"]).meta.positions == meta.positions


BAD_REQUESTS = {
    "k of zero": (RecommendRequest(user_id="u", k=0), "k is 0, allowed are 1 to 1000"),
    "negative k": (RecommendRequest(user_id="u", k=-1), "k is -1, allowed are 1 to 1000"),
    "huge k": (
        RecommendRequest(user_id="u", k=1_000_000),
        "k is 1000000, allowed are 1 to 1000 (serving.k_max)",
    ),
    "no user": (RecommendRequest(k=5), "user_id has 0 bytes, allowed are 1 to 256"),
    "long user": (RecommendRequest(user_id="ü" * 129, k=5), "user_id has 258 bytes"),
    "no items": (ScoreRequest(user_id="u"), "item_ids has 0 items, allowed are 1 to 10000"),
    "many items": (
        ScoreRequest(user_id="u", item_ids=["i"] * 10_001),
        "item_ids has 10001 items, allowed are 1 to 10000 (serving.items_per_request_max)",
    ),
    "empty item": (ScoreRequest(user_id="u", item_ids=["a", "", "b"]), "item_ids[1] has 0 bytes"),
    "long item": (ScoreRequest(user_id="u", item_ids=["x" * 257]), "item_ids[0] has 257 bytes"),
    "no user to score": (ScoreRequest(item_ids=["a"]), "user_id has 0 bytes"),
    "negative staleness": (
        RecommendRequest(user_id="u", k=5, max_staleness_ms=-1),
        "max_staleness_ms is -1, below 0",
    ),
    "foreign topic": (
        RecommendRequest(user_id="u", k=5, min_position=[Position(topic="orders", offset=1)]),
        'min_position[0].topic is "orders", which this model does not consume; it consumes ' + TOPIC,
    ),
    "negative partition": (
        RecommendRequest(user_id="u", k=5, min_position=[Position(topic=TOPIC, partition=-1, offset=1)]),
        f"min_position[0] is {TOPIC}/-1 offset 1",
    ),
    "negative offset": (
        ScoreRequest(user_id="u", item_ids=["i"], min_position=[Position(topic=TOPIC, offset=-7)]),
        f"min_position[0] is {TOPIC}/0 offset -7",
    ),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_field_is_named_with_its_limit(world: World, name: str) -> None:
    request, expected = BAD_REQUESTS[name]
    method = world.stub.Score if isinstance(request, ScoreRequest) else world.stub.Recommend
    code, message = refusal(lambda: method(request, timeout=TIMEOUT_S))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert expected in message


@pytest.mark.parametrize("data", [b"\x0a\x02\xff\xfe\x10\x05", b"\x0a\xff", b"not a message"])
def test_bytes_that_are_no_request_are_the_callers_mistake(world: World, data: bytes) -> None:
    """The first is a request whose user_id is not UTF-8."""
    call = world.scorer.channel.unary_unary("/livefactor.v1.Scorer/Recommend")
    code, message = refusal(lambda: call(data, timeout=TIMEOUT_S))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "livefactor.v1.RecommendRequest" in message


def test_a_message_that_is_too_large_is_refused(world: World) -> None:
    request = ScoreRequest(user_id="u", item_ids=["x" * 250] * 1_000)
    code, _ = refusal(lambda: world.stub.Score(request, timeout=TIMEOUT_S))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert world.score("u0", ["i0"]).known == [True]


def test_min_position_waits_for_the_commit(world: World) -> None:
    wanted = Position(topic=TOPIC, partition=0, offset=world.toy.offset + 1)
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[RecommendResponse] = pool.submit(
            lambda: world.recommend("newcomer", k=40, include_seen=True, min_position=[wanted])
        )
        assert world.recommend("newcomer").cold
        assert not waiting.done()
        world.commit(["newcomer"], ["i39", "novelty"])
        reply = waiting.result(timeout=TIMEOUT_S)
    assert not reply.cold
    assert reply.meta.positions[0].offset == wanted.offset
    assert list(reply.item_ids) == world.toy.best("newcomer", 40, include_seen=True)
    assert world.score("newcomer", ["novelty"]).known == [True]
    ITEMS.append("novelty")


def refusal_in_time(world: World, wanted: Position) -> str:
    """What a call is told that waits for a position in vain; on a busy machine it may be told too late."""

    def told() -> str:
        code, message = refusal(lambda: world.recommend("u0", timeout=1.0, min_position=[wanted]))
        return message if code == grpc.StatusCode.FAILED_PRECONDITION else ""

    message: str = until(told)
    return message


def test_min_position_that_does_not_come_fails_before_the_deadline_and_names_both_positions(
    world: World,
) -> None:
    started = time.monotonic()
    message = refusal_in_time(world, Position(topic=TOPIC, partition=0, offset=10**12))
    assert time.monotonic() - started > 0.5, "it must have waited"
    assert f"{TOPIC}/0 offset {10**12}" in message
    assert f"at offset {world.toy.offset}" in message


def test_min_position_in_a_partition_without_records_waits_too(world: World) -> None:
    message = refusal_in_time(world, Position(topic=TOPIC, partition=77, offset=1))
    assert f"{TOPIC}/77 offset 1 and the state is at offset 0" in message
    assert world.recommend("u0", min_position=[Position(topic=TOPIC, partition=77)]).item_ids


def test_staleness_grows_when_nothing_is_applied_and_can_be_refused(world: World) -> None:
    world.writer.heartbeat({PARTITION: now_ms()})
    first = until(lambda: (meta := world.recommend("u0").meta).staleness_ms < 2_000 and meta).staleness_ms
    until(lambda: world.recommend("u0").meta.staleness_ms >= first + 100)
    code, message = refusal(lambda: world.recommend("u0", max_staleness_ms=50))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "ms old and max_staleness_ms is 50" in message
    world.writer.heartbeat({PARTITION: now_ms() + 3_000})
    until(lambda: world.recommend("u0").meta.staleness_ms == 0)
    assert world.recommend("u0", max_staleness_ms=0).item_ids


def test_the_slowest_partition_decides_staleness(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.commit(["u1"], partition=1)
        world.writer.heartbeat({TopicPartition(TOPIC, 1): now_ms() - 60_000, TopicPartition("other", 0): 1})
        world.settle()
        meta = until(lambda: (m := world.recommend("u0").meta).staleness_ms > 50_000 and m)
        assert meta.staleness_ms < 100_000
        world.commit(["u2"], partition=2)
        world.settle()
        assert world.recommend("u0").meta.staleness_ms > now_ms() - 60_000, "a backlog of unknown age"
        assert [(p.partition, p.offset) for p in meta.positions] == [(0, 2), (1, 3)]


def test_health_and_reflection_say_what_is_served(world: World) -> None:
    assert health_of(world.scorer, "") == SERVING
    assert health_of(world.scorer) == SERVING
    code, _ = refusal(lambda: health_of(world.scorer, "no.such.Service"))
    assert code == grpc.StatusCode.NOT_FOUND
    assert "livefactor.v1.Scorer" in reflected(world.scorer)


def reflected(scorer: ScorerProcess) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(scorer.channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (reply,) = stub.ServerReflectionInfo(requests, timeout=TIMEOUT_S)
    return [service.name for service in reply.list_services_response.service]


@pytest.mark.slow
def test_a_client_may_ask_every_second_whether_the_connection_lives(world: World) -> None:
    """As Go and Java clients do every 10 s, calls or not; by default gRPC hangs up on them."""
    frame = "!BHB B I".replace(" ", "")
    settings = struct.pack(frame, 0, 0, 4, 0, 0)
    ping = struct.pack(frame, 0, 8, 6, 0, 0) + b"livefact"
    port = int(world.scorer.address.rpartition(":")[2])
    answered = 0
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
        with connection.makefile("rb") as frames:
            while answered < 5:
                connection.sendall(ping)
                due_s = time.monotonic() + 1.1
                kind = -1
                while kind != 6:
                    _, length, kind, _, _ = struct.unpack(frame, frames.read(9))
                    assert kind != 7, f"told to go away: {frames.read(length)!r}"
                    frames.read(length)
                answered += 1
                connection.settimeout(max(0.01, due_s - time.monotonic()))
                with contextlib.suppress(TimeoutError):
                    connection.recv(1, socket.MSG_PEEK)
                connection.settimeout(TIMEOUT_S)


def test_reflection_can_be_turned_off(tmp_path: Path) -> None:
    with ScorerProcess(tmp_path / "none", reflection=False) as scorer:
        code, _ = refusal(lambda: reflected(scorer))
        assert code == grpc.StatusCode.UNIMPLEMENTED


def test_a_scorer_waits_for_a_store_that_does_not_exist_yet(tmp_path: Path) -> None:
    directory = tmp_path / "later"
    with ScorerProcess(directory) as scorer:
        assert health_of(scorer) == NOT_SERVING
        stub = ScorerStub(scorer.channel)
        request = RecommendRequest(user_id="u0", k=5)
        missing = until(
            lambda: (
                (found := refusal(lambda: stub.Recommend(request, timeout=TIMEOUT_S)))[1].count("holds no")
                and found
            )
        )
        assert missing[0] == grpc.StatusCode.UNAVAILABLE
        assert "livefactor learn" in missing[1]
        with Client(scorer.address) as client, pytest.raises(ScorerError) as refused:
            client.recommend("u0")
        assert missing[1] in str(refused.value), "the client passes on what the scorer says"
        writer, toy = RocksWriter(state_config(directory), IDENTITY), ToyModel()
        toy.commit(writer, USERS, ITEMS)
        until(lambda: health_of(scorer) == SERVING)
        assert list(stub.Recommend(request, timeout=TIMEOUT_S).item_ids) == toy.best("u0", 5)
        writer.close()


def test_the_store_of_another_model_is_not_served(tmp_path: Path) -> None:
    writer, told = RocksWriter(state_config(tmp_path), {**IDENTITY, "model": "books"}), "model = 'books'"
    try:
        with ScorerProcess(tmp_path) as scorer:
            stub = ScorerStub(scorer.channel)
            request = RecommendRequest(user_id="u0", k=5)
            message = until(
                lambda: (
                    (text := refusal(lambda: stub.Recommend(request, timeout=TIMEOUT_S))[1]).count(told)
                    and text
                )
            )
            assert f"{told} and the settings say 'default'" in message
            assert "give the scorer the learner's `model.name`" in message
            assert health_of(scorer) == NOT_SERVING
    finally:
        writer.close()


def learn_again(directory: Path, seed: int) -> int:
    """Open the store as the next learner does, commit, flush and commit again, and close it."""
    writer, toy = RocksWriter(state_config(directory), IDENTITY), ToyModel(seed)
    toy.batch_seq, toy.offset = writer.head().batch_seq, writer.head().offsets[PARTITION]
    toy.commit(writer, USERS, ITEMS[:6])
    toy.flush(writer)
    toy.commit(writer, ["u2"])
    writer.close()
    return toy.batch_seq


def test_the_scorer_outlives_its_learner_and_follows_the_next_one(tmp_path: Path) -> None:
    """Stopping the scorer meanwhile makes it see the next learner's work all at once, the harder case."""
    learner = spawn("run_toy_learner.py", str(tmp_path), "6")
    try:
        first_line(learner)
        with ScorerProcess(tmp_path) as scorer:
            until(lambda: health_of(scorer) == SERVING)
            stub = ScorerStub(scorer.channel)
            request = RecommendRequest(user_id="u2", k=3)
            before = stub.Recommend(request, timeout=TIMEOUT_S)
            assert before.meta.batch_seq == 6
            learner.kill()
            learner.wait()
            older = until(
                lambda: (
                    (reply := stub.Recommend(request, timeout=TIMEOUT_S)).meta.staleness_ms
                    > before.meta.staleness_ms + 50
                    and reply
                )
            )
            assert older.item_ids == before.item_ids
            for seed in (100, 101):
                scorer.process.send_signal(signal.SIGSTOP)
                until(lambda: is_stopped(scorer.process.pid))
                batch_seq = learn_again(tmp_path, seed)
                scorer.process.send_signal(signal.SIGCONT)
                until(lambda: stub.Recommend(request, timeout=TIMEOUT_S).meta.batch_seq == batch_seq)  # noqa: B023
    finally:
        learner.kill()
        learner.communicate()


def test_sigterm_finishes_the_calls_in_flight(tmp_path: Path) -> None:
    with World(tmp_path, drain_ms=15_000) as world, ThreadPoolExecutor(1) as pool:
        watch = health_pb2_grpc.HealthStub(world.scorer.channel).Watch(
            health_pb2.HealthCheckRequest(service=""), timeout=TIMEOUT_S
        )
        assert next(watch).status == SERVING
        wanted = Position(topic=TOPIC, partition=0, offset=world.toy.offset + 1)
        waiting = pool.submit(lambda: world.recommend("u0", min_position=[wanted]))
        world.recommend("u0")
        world.scorer.terminate()
        assert next(watch).status == NOT_SERVING
        watch.cancel()
        assert not waiting.done()
        world.commit(["u0"])
        reply = waiting.result(timeout=TIMEOUT_S)
        assert reply.meta.positions[0].offset == wanted.offset
        assert world.scorer.wait()[0] == 0
        code, _ = refusal(lambda: world.recommend("u0"))
        assert code == grpc.StatusCode.UNAVAILABLE


def test_sigterm_cuts_calls_that_outlast_the_drain(tmp_path: Path) -> None:
    with World(tmp_path, drain_ms=200) as world, ThreadPoolExecutor(1) as pool:
        wanted = Position(topic=TOPIC, partition=0, offset=10**9)
        waiting = pool.submit(lambda: world.recommend("u0", min_position=[wanted]))
        world.recommend("u0")
        world.scorer.terminate()
        assert world.scorer.wait()[0] == 0
        assert isinstance(waiting.exception(timeout=TIMEOUT_S), grpc.RpcError)


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with ScorerProcess(tmp_path) as scorer:
        arguments = {**scorer.arguments, "serving": {"listen": scorer.address}}
        second = spawn("run_scorer.py", json.dumps(arguments))
        _, error = second.communicate(timeout=120)
        assert second.returncode == 1
        assert f"serving.listen = '{scorer.address}' cannot be had" in error
        assert "Traceback" not in error


def test_one_reply_is_one_state_while_everything_changes(tmp_path: Path) -> None:
    """Batch b sets every user and item vector to (b, 0, 0, 0): a score is b squared, or states were mixed."""
    writer, toy = RocksWriter(state_config(tmp_path), IDENTITY), ToyModel()
    ended = threading.Event()

    def commit() -> None:
        toy.commit(writer, USERS, ITEMS[:40], vector=(float(toy.batch_seq + 1), 0.0, 0.0, 0.0))
        if toy.batch_seq % 25 == 0:
            toy.flush(writer)

    def learn() -> None:
        while not ended.is_set() and toy.batch_seq < 2_000:
            commit()
            ended.wait(0.002)

    commit()
    learner = threading.Thread(target=learn)
    with ScorerProcess(tmp_path, refresh_interval_ms=1) as scorer:
        until(lambda: health_of(scorer) == SERVING)
        stub = ScorerStub(scorer.channel)
        learner.start()
        states = set()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and len(states) < 150:
            reply = stub.Recommend(RecommendRequest(user_id="u3", k=40, include_seen=True), timeout=TIMEOUT_S)
            assert set(reply.scores) == {float(reply.meta.batch_seq) ** 2}
            assert reply.meta.positions[0].offset == reply.meta.batch_seq
            states.add(reply.meta.batch_seq)
        ended.set()
        learner.join()
    writer.close()
    assert len(states) > 20
