"""Orders over gRPC, as far as the scorer goes: who may give them, and what is said where none can be."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from memory_learner import LastingLearner
from pipeline import keep_version
from scorer_process import ScorerProcess

from protos.admin_pb2 import FreezeRequest, ResumeRequest, RollbackRequest, VersionsRequest
from protos.admin_pb2_grpc import AdminStub
from protos.events_pb2 import Command, CommandResult
from serving import admin
from serving.admin import AdminService, is_local
from state.errors import CommandUnansweredError
from state.rocksdb.directory import Directory
from state.rocksdb.versions import Versions

TIMEOUT_S = 30.0


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:40000", True),
        ("ipv4:127.8.9.1:40000", True),
        ("ipv6:%5B::1%5D:40000", True),
        ("ipv6:[::1]:40000", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:40000", True),
        ("unix:", True),
        ("unix:/run/livefactor.sock", True),
        ("ipv4:10.0.0.7:40000", False),
        ("ipv4:128.127.0.1:40000", False),
        ("ipv6:%5B2001:db8::1%5D:40000", False),
        ("ipv6:%5B::ffff:10.0.0.7%5D:40000", False),
        ("ipv4:localhost:40000", False),
        ("", False),
    ],
)
def test_who_is_on_this_machine(peer: str, local: bool) -> None:
    assert is_local(peer) == local


class Elsewhere:
    """A call from another machine."""

    def __init__(self) -> None:
        self.ended: list[tuple[grpc.StatusCode, str]] = []

    def peer(self) -> str:
        return "ipv4:10.0.0.7:40000"

    async def abort(self, code: grpc.StatusCode, message: str) -> None:
        self.ended.append((code, message))
        raise PermissionError


@pytest.mark.parametrize("name", ["freeze", "resume", "rollback", "versions"])
def test_nobody_else_gives_orders(tmp_path: Path, name: str) -> None:
    def send(command: Command, _: float) -> CommandResult:
        raise AssertionError(command)

    call = Elsewhere()
    requests = {
        "freeze": FreezeRequest(),
        "resume": ResumeRequest(),
        "rollback": RollbackRequest(),
        "versions": VersionsRequest(),
    }
    with pytest.raises(PermissionError):
        asyncio.run(getattr(AdminService(tmp_path, send), name)(requests[name], call))
    [(code, message)] = call.ended
    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert "on the scorer's machine only" in message


def test_versions_and_no_broker(tmp_path: Path) -> None:
    learner = LastingLearner(tmp_path)
    learner.publish(60)
    learner.learn()
    version = keep_version(learner.settings)
    with ScorerProcess(learner.settings.state.directory) as scorer:
        stub = AdminStub(scorer.channel)
        [kept] = stub.Versions(VersionsRequest(), timeout=TIMEOUT_S).versions
        [known] = Versions(Directory(learner.settings.state.directory)).all()
        assert (kept.version, kept.reason, kept.created_ms) == (str(version), "test", known.created_ms)
        assert (kept.parent, kept.pinned) == ("", False)
        assert {each.offset for each in kept.positions} == {0, 20}
        assert kept.metrics["live.hr"] == known.metrics["live"]["hr"]  # type: ignore[index]
        with pytest.raises(grpc.RpcError) as error:
            stub.Freeze(FreezeRequest(), timeout=TIMEOUT_S)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "no broker" in error.value.details()


@pytest.fixture
def silence() -> Iterator[threading.Event]:
    """Set when the learner answers at last."""
    event = threading.Event()
    yield event
    event.set()


def test_callers_that_nobody_answers(tmp_path: Path, silence: threading.Event) -> None:
    """Some may wait, whether they still do or not; they are told after nine tenths of their time."""
    asyncio.run(let_callers_wait(tmp_path, silence))


async def let_callers_wait(directory: Path, silence: threading.Event) -> None:
    waits: list[float] = []

    def send(command: Command, wait_s: float) -> CommandResult:
        waits.append(wait_s)
        if command.reason == "late":
            raise CommandUnansweredError("no learner answered")
        silence.wait()
        return CommandResult(applied=True)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((AdminService(directory, send).handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = AdminStub(channel)
            await refused(stub, grpc.StatusCode.DEADLINE_EXCEEDED, "no learner answered", reason="late")
            assert waits[0] == pytest.approx(0.9 * TIMEOUT_S, rel=0.1)
            for _ in range(admin.WAITING_MAX):
                with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
                    await stub.Freeze(FreezeRequest(), timeout=0.2)
            await refused(stub, grpc.StatusCode.RESOURCE_EXHAUSTED, "4 orders wait for the learner already")
            silence.set()
            assert await answered(stub)
    finally:
        await server.stop(None)


async def refused(stub: AdminStub, code: grpc.StatusCode, words: str, **fields: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=words) as error:
        await stub.Freeze(FreezeRequest(**fields), timeout=TIMEOUT_S)
    assert error.value.code() == code


async def answered(stub: AdminStub) -> bool:
    """Whether an order is, once those that nobody waits for have ended."""
    for _ in range(1_000):
        try:
            return bool((await stub.Freeze(FreezeRequest(), timeout=TIMEOUT_S)).applied)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
    return False
