"""The scorer process: one event loop that follows the store and answers gRPC until it is told to stop."""

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from serving import admin, drift
from serving.config import ServingConfig
from serving.refresh import Follower, follow
from serving.replica import Bounds
from serving.service import SERVICE_NAME, ScorerService
from serving.warm_up import warm_up
from state.config import ModelConfig, StateConfig
from state.errors import ConfigError, StoreError, StoreMissingError
from state.identity import mismatches
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader

_log = structlog.get_logger(__name__)
_SERVICES = (SERVICE_NAME, drift.SERVICE_NAME, admin.SERVICE_NAME)
_HEALTH_NAMES = ("", *_SERVICES)

PING_INTERVAL_MIN_MS = 1_000
"""Clients may ask this often whether the connection lives; Go and Java do every 10 s, gRPC allows 5 min."""

KEEPALIVE_MS = 60_000
"""After so long without a sign of life a client is asked for one: a watcher may be gone without a word."""

Started = Callable[[int], None]
"""Called once with the port that answers."""


def run(
    state: StateConfig,
    config: ServingConfig,
    model: ModelConfig,
    topic: str,
    send: admin.Send,
    started: Started = lambda port: None,
) -> None:
    """Serve the store of `model` in `state.directory` until SIGTERM or SIGINT.

    `topic`: the interactions topic. `send` passes orders on to the learner. Raises ConfigError if the address
    cannot be had.
    """
    warm_up()
    bounds = Bounds(state.rows_max, state.items_max, config.overlay_bytes_max)
    with ThreadPoolExecutor(1, "replica") as executor:
        follower = Follower(
            lambda: open_reader(state.directory, model),
            lambda: incarnation(state.directory),
            bounds,
            executor.submit,
        )
        orders = admin.AdminService(state.directory, send)
        asyncio.run(serve(follower, config, topic, orders, started))


def open_reader(directory: Path, model: ModelConfig) -> RocksReader:
    """The store in a directory, which must have been made for the same model."""
    reader = RocksReader(directory)
    try:
        _check_model(reader, model)
    except StoreError:
        reader.close()
        raise
    return reader


def incarnation(directory: Path) -> tuple[Path, bytes]:
    """The current database and its manifest, of which RocksDB begins a new one whenever a learner opens it.

    A secondary from before may go on answering from memtables that the new learner's recovery has
    superseded (facebook/rocksdb#14444), so a new manifest calls for a new secondary.
    """
    path = Directory(directory).database()
    try:
        return path, (path / "CURRENT").read_bytes()
    except FileNotFoundError:
        raise StoreMissingError(f"{path} holds no database yet: start `livefactor learn` first") from None


def _check_model(reader: RocksReader, model: ModelConfig) -> None:
    stored = reader.identity()
    if not stored:
        raise StoreMissingError(
            f"{reader.path} is being created: the scorer goes on when the learner has done it"
        )
    remedy = "give the scorer the learner's `model.name`, or its `state.directory`"
    for error in mismatches(reader.path, stored, {"model": model.name}, remedy):
        raise error


async def serve(
    follower: Follower, config: ServingConfig, topic: str, orders: admin.AdminService, started: Started
) -> None:
    """Answer until SIGTERM or SIGINT, then finish the calls in flight.

    1. Listen; health says NOT_SERVING and calls get UNAVAILABLE.
    2. Follow the store; with the first replica health says SERVING.
    3. On a signal health says NOT_SERVING, new calls are refused, and those in flight have
       `serving.drain_ms`; the store is followed until they are done, because they may wait for it.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    status = health.aio.HealthServicer()  # type: ignore[attr-defined]
    feed = drift.DriftFeed(follower)
    server, port = await _listen(follower, feed, config, topic, orders, status)
    started(port)
    tasks = [
        asyncio.create_task(follow(follower, config.refresh_interval_ms)),
        asyncio.create_task(_say_when_ready(follower, status)),
        asyncio.create_task(feed.follow()),
    ]
    await stopped.wait()
    _log.info("the scorer drains", drain_ms=config.drain_ms)
    await status.enter_graceful_shutdown()
    feed.close()
    await server.stop(config.drain_ms / 1000)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    follower.close()


async def _listen(
    follower: Follower,
    feed: drift.DriftFeed,
    config: ServingConfig,
    topic: str,
    orders: admin.AdminService,
    status: Any,
) -> tuple[grpc.aio.Server, int]:
    """Start answering; the server and its port."""
    options = [
        ("grpc.max_receive_message_length", config.request_bytes_max),
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MIN_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ]
    server = grpc.aio.server(options=options)
    service = ScorerService(follower, config, topic, lambda: time.time_ns() // 1_000_000)
    watched = drift.DriftService(follower, feed, config.watchers_max)
    server.add_generic_rpc_handlers((service.handlers(), watched.handlers(), orders.handlers()))
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    if config.reflection:
        names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    for name in _HEALTH_NAMES:
        await status.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    try:
        port = server.add_insecure_port(config.listen)
    except RuntimeError as error:
        raise ConfigError(
            f"serving.listen = {config.listen!r} cannot be had ({error}): stop the process that listens "
            "there, or choose another address"
        ) from error
    await server.start()
    _log.info("the scorer listens", port=port)
    return server, port


async def _say_when_ready(follower: Follower, status: Any) -> None:
    while follower.replica is None:
        await follower.refreshed()
    for name in _HEALTH_NAMES:
        await status.set(name, health_pb2.HealthCheckResponse.SERVING)
