"""A learner process: take the directory, open the store, connect to Kafka, learn until told to stop."""

import os
import signal
from importlib.metadata import version
from threading import Event

import numpy as np
import structlog

from protos.events_pb2 import Interaction
from state.memory import MemoryStore
from state.rocksdb.directory import DirectoryLock
from state.rocksdb.writer import Probe, RocksWriter, no_probe
from stream.allocation import collect_seldom, reclaim
from stream.config import LearnerSettings
from stream.control import rollback_in
from stream.engine import Engine
from stream.events import Records
from stream.kafka import KafkaSink, KafkaSource
from stream.lineage.identity import identity
from stream.lineage.rollback import roll_back
from stream.loop import Loop
from stream.outgoing import Outgoing
from stream.webhooks import WebhookSink

STANDBY_POLL_S = 0.1
REQUEST_TIMEOUT_MS = 30_000
LEARNER_REQUEST_TIMEOUT_MS = 2_000
"""Short, because the learner asks again by itself and must hear SIGTERM in between."""

log = structlog.get_logger("livefactor.learner")


def group(settings: LearnerSettings) -> str:
    """The consumer group whose offsets show lag tools where the model stands."""
    return f"livefactor.{settings.model.name}"


def open_source(settings: LearnerSettings, request_timeout_ms: int = REQUEST_TIMEOUT_MS) -> KafkaSource:
    """The topics that a learner consumes."""
    return KafkaSource(settings.kafka, group(settings), settings.topics.consumed, request_timeout_ms)


def run_learner(
    settings: LearnerSettings,
    *,
    until_end: bool = False,
    standby: bool = False,
    accept_partitions: bool = False,
    accept_topic: bool = False,
    stop: Event | None = None,
    probe: Probe = no_probe,
) -> None:
    """Learn in this process until SIGTERM or SIGINT or, with `until_end`, until the log's present end.

    With `standby` wait for the directory as long as another learner owns it, else raise StoreLockedError.
    """
    stop = stop or stop_on_signals()
    collect_seldom()
    lock = DirectoryLock(settings.state.directory)
    if standby:
        warm_up(settings)
        _wait_for(lock, stop)
    if stop.is_set():
        return
    if not standby:
        lock.acquire()
    try:
        while _learn(
            settings,
            lock,
            stop,
            probe,
            until_end=until_end,
            accept_partitions=accept_partitions,
            accept_topic=accept_topic,
        ):
            log.info("going on from another generation")
    finally:
        lock.release()


def _learn(
    settings: LearnerSettings,
    lock: DirectoryLock,
    stop: Event,
    probe: Probe,
    *,
    until_end: bool,
    accept_partitions: bool,
    accept_topic: bool,
) -> bool:
    """Learn with one generation of the store; whether to go on, since a rollback has been dealt with."""
    store = RocksWriter(settings.state, identity(settings), lock=lock, tuning=settings.rocksdb, probe=probe)
    source = sink = None
    app_version = version("livefactor")
    try:
        source = open_source(settings, LEARNER_REQUEST_TIMEOUT_MS)
        sink = Outgoing(
            KafkaSink(settings.kafka),
            WebhookSink(settings.drift.webhooks),
            settings.topics.dlq,
            app_version,
        )
        Loop(
            settings,
            source,
            sink,
            store,
            accept_partitions=accept_partitions,
            accept_topic=accept_topic,
            app_version=app_version,
        ).run(stop, until_end=until_end)
        if stop.is_set() or rollback_in(store.head()) is None:
            return False
        reclaim()
        roll_back(settings, store, source.limits, probe)
        reclaim()
        return True
    finally:
        for part in (source, sink, store):
            if part is not None:
                part.close()


def stop_on_signals() -> Event:
    """An event that SIGTERM and SIGINT set; the same signal once more ends the process at once."""
    stop = Event()

    def hear(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)
    return stop


def _wait_for(lock: DirectoryLock, stop: Event) -> None:
    """Poll the directory's lock until it is ours."""
    if not lock.try_acquire():
        log.info("standing by", process_id=os.getpid())
        while not stop.is_set() and not lock.try_acquire():
            stop.wait(STANDBY_POLL_S)


def warm_up(settings: LearnerSettings) -> None:
    """Learn one event in memory, so that no kernel has to be loaded when it is our turn."""
    event = Interaction(user_id="u", item_id="i", value=1.0).SerializeToString()
    one = np.zeros(1, np.int64)
    engine = Engine(settings, MemoryStore())
    engine.process(
        [Records(settings.topics.interactions, [event], [b"u"], [None], np.zeros(1, np.int32), one, one)]
    )
    engine.flush()
