"""Orders to the learner on the wire: `livefactor.v1.Admin`, for callers on this machine.

An order goes through the log, as `livefactor control` sends it, and the reply is what the learner answers.

PERMISSION_DENIED     the caller is on another machine
RESOURCE_EXHAUSTED    too many wait for an answer already
UNAVAILABLE           the broker cannot be reached
DEADLINE_EXCEEDED     no learner answered in time; the order stays in the log
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import grpc

from protos.admin_pb2 import (
    FreezeRequest,
    KeptVersion,
    ResumeRequest,
    RollbackRequest,
    VersionsRequest,
    VersionsResponse,
)
from protos.events_pb2 import (
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_LEARN_MISSED,
    COMMAND_ACTION_RESUME,
    COMMAND_ACTION_ROLLBACK,
    Command,
    CommandResult,
    Position,
)
from serving.rpc import Context, refuse, unary
from state.errors import BrokerUnreachableError, CommandUnansweredError, LivefactorError
from state.rocksdb.directory import Directory
from state.rocksdb.versions import Versions
from state.store import Version

SERVICE_NAME = "livefactor.v1.Admin"

WAIT_MAX_S = 120.0
"""How long an order waits for the learner, in a call without a deadline."""

WAIT_SHARE = 0.9
"""Part of the time left in which the learner must answer, so that the refusal can travel back."""

WAITING_MAX = 4
"""Orders that may wait for an answer at a time."""

Send = Callable[[Command, float], CommandResult]
"""Send an order, and wait so many seconds for the answer; raises LivefactorError."""

T = TypeVar("T")


class AdminService:
    """Passes orders on with `send`; knows the versions in the store's `directory`."""

    def __init__(self, directory: Path, send: Send) -> None:
        self._directory, self._send, self._waiting = directory, send, 0

    def handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """All methods."""
        methods = {
            "Freeze": unary(FreezeRequest, self.freeze),
            "Resume": unary(ResumeRequest, self.resume),
            "Rollback": unary(RollbackRequest, self.rollback),
            "Versions": unary(VersionsRequest, self.versions),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    async def freeze(self, request: FreezeRequest, context: Context) -> CommandResult:
        """Learn nothing until `resume`."""
        return await self._order(Command(action=COMMAND_ACTION_FREEZE, reason=request.reason), context)

    async def resume(self, request: ResumeRequest, context: Context) -> CommandResult:
        """Learn again."""
        action = COMMAND_ACTION_LEARN_MISSED if request.learn_missed else COMMAND_ACTION_RESUME
        return await self._order(Command(action=action, reason=request.reason), context)

    async def rollback(self, request: RollbackRequest, context: Context) -> CommandResult:
        """Go on from a version."""
        command = Command(
            action=COMMAND_ACTION_ROLLBACK,
            reason=request.reason,
            version=request.version,
            replay=request.replay,
            exclude=request.exclude,
            drift_event_id=request.drift_event_id,
        )
        return await self._order(command, context)

    async def versions(self, _: VersionsRequest, context: Context) -> VersionsResponse:
        """Those that are kept."""
        await _require_local(context)
        return await in_thread(partial(_kept_in, self._directory))

    async def _order(self, command: Command, context: Context) -> CommandResult:
        await _require_local(context)
        if self._waiting >= WAITING_MAX:
            message = f"{self._waiting} orders wait for the learner already: see that it runs, and try later"
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, message)
        left_s = context.time_remaining()
        wait_s = WAIT_MAX_S if left_s is None else min(left_s * WAIT_SHARE, WAIT_MAX_S)
        self._waiting += 1
        sending = asyncio.ensure_future(in_thread(partial(self._send, command, wait_s)))
        sending.add_done_callback(self._answered)
        try:
            return await asyncio.shield(sending)
        except BrokerUnreachableError as error:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, str(error))
        except CommandUnansweredError as error:
            await refuse(context, grpc.StatusCode.DEADLINE_EXCEEDED, str(error))
        except LivefactorError as error:
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))

    def _answered(self, sending: "asyncio.Future[CommandResult]") -> None:
        """Also where nobody waits any more for what `sending` brought."""
        self._waiting -= 1
        if not sending.cancelled():
            sending.exception()


async def in_thread(call: Callable[[], T]) -> T:
    """What a call returns or raises that waits; the process does not wait for it to end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: object) -> None:
        if not done.done():
            set_outcome(outcome)

    def run() -> None:
        try:
            outcome: tuple[Callable[[Any], None], object] = done.set_result, call()
        except Exception as error:
            outcome = done.set_exception, error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, daemon=True).start()
    return await done


def is_local(peer: str) -> bool:
    """Whether a peer, as gRPC names it, is on this machine: ipv4:127.0.0.1:5, ipv6:%5B::1%5D:5, unix:"""
    kind, _, place = unquote(peer).partition(":")
    if kind == "unix":
        return True
    try:
        address = ip_address(place.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


async def _require_local(context: Context) -> None:
    if not is_local(context.peer()):
        message = (
            f"{SERVICE_NAME} answers callers on the scorer's machine only: call it there, or give the order "
            "with `livefactor control` or `livefactor rollback`"
        )
        await refuse(context, grpc.StatusCode.PERMISSION_DENIED, message)


def _kept_in(directory: Path) -> VersionsResponse:
    versions = Versions(Directory(directory))
    return VersionsResponse(
        versions=[_as_message(version, pinned=versions.pinned(version)) for version in versions.all()]
    )


def _as_message(version: Version, *, pinned: bool) -> KeptVersion:
    return KeptVersion(
        version=str(version.id),
        created_ms=version.created_ms,
        reason=version.reason,
        parent=str(version.parent) if version.parent.batch_seq else "",
        pinned=pinned,
        positions=[
            Position(topic=topic, partition=partition, offset=offset)
            for (topic, partition), offset in sorted(version.positions.items())
        ],
        metrics=dict(_numbers(version.metrics)),
    )


def _numbers(measured: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """What is a number, at any depth, by its path."""
    for name, value in measured.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)):
            yield prefix + name, float(value)
