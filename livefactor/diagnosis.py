"""What `livefactor doctor` looks at, one function per subject; none of them changes anything."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livefactor.settings import Settings
from state.errors import LivefactorError, StoreMissingError
from state.identity import mismatches

DISK_FAIL_BYTES = 512 << 20
DISK_WARN_BYTES = 5 << 30
BROKER_TIMEOUT_MS = 5_000
SCORER_TIMEOUT_S = 2.0
LATEST_EVENTS = 1_000
"""How many records of each partition are looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it if it is not `ok`."""

    subject: str
    status: Literal["ok", "warn", "fail"]
    message: str


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Every finding, in the order in which an operator would look."""
    yield Finding("settings", "ok", "understood, and without contradictions")
    yield from broker_findings(settings)
    yield from store_findings(settings)
    yield disk_finding(settings.state.directory)
    yield kernel_cache_finding()
    yield scorer_finding(settings.serving.listen)


def broker_findings(settings: Settings) -> Iterator[Finding]:
    """Whether a broker answers, and the topics are as they should be."""
    from stream.kafka import check_topics

    servers = settings.kafka.get("bootstrap.servers", "?")
    try:
        problems = check_topics(settings.kafka, settings.topics, BROKER_TIMEOUT_MS)
    except LivefactorError as error:
        yield Finding("broker", "fail", str(error))
        return
    yield Finding("broker", "ok", f"answers at {servers}")
    if not problems:
        yield Finding("topics", "ok", "exist with fitting settings")
    for problem in problems:
        yield Finding("topics", "fail" if "does not exist" in problem else "warn", problem)
    if not any(settings.topics.interactions in problem for problem in problems):
        yield from event_type_findings(settings)


def event_type_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the latest interactions mean what the names of their types say."""
    from stream.intake.decode import Decoder
    from stream.intake.event_types import describe_doubtful
    from stream.kafka import KafkaSource
    from stream.log_reader import scan

    decoder = Decoder(settings.decode, settings.topics.framing)
    events, doubtful = 0, Counter[str]()
    topics = (settings.topics.interactions,)
    try:
        with closing(KafkaSource(settings.kafka, "livefactor.doctor", topics, BROKER_TIMEOUT_MS)) as source:
            for records in scan(source, LATEST_EVENTS):
                decoded = decoder.decode(records)
                events += len(decoded.interactions)
                doubtful.update(decoded.doubtful_types)
    except LivefactorError as error:
        yield Finding("event types", "fail", str(error))
        return
    if doubtful:
        yield Finding("event types", "warn", describe_doubtful(doubtful))
    else:
        yield Finding("event types", "ok", f"none looks negative but counts as a like, in {events:,} events")


def store_findings(settings: Settings) -> Iterator[Finding]:
    """Whether there is a store, made for these settings, and who owns it."""
    from state.rocksdb.reader import RocksReader
    from stream.lineage.identity import identity

    directory = settings.state.directory
    try:
        with closing(RocksReader(directory)) as reader:
            stored, head = reader.identity(), reader.head()
    except StoreMissingError:
        yield _creatable(directory)
        return
    except LivefactorError as error:
        yield Finding("store", "fail", str(error))
        return
    yield Finding("store", "ok", f"{directory} stands at micro-batch {head.batch_seq:,}")
    remedy = "restore the setting, or use another state.directory"
    for mismatch in mismatches(directory, stored, identity(settings), remedy):
        yield Finding("store", "fail", str(mismatch))
    yield _owner(directory)


def _creatable(directory: Path) -> Finding:
    parent = _existing(directory)
    if os.access(parent, os.W_OK):
        return Finding("store", "warn", f"{directory} holds no store yet: `livefactor learn` will create it")
    return Finding("store", "fail", f"{directory} cannot be created: {parent} is not writable for this user")


def _owner(directory: Path) -> Finding:
    """Who holds the learner's lock."""
    from state.rocksdb.directory import Directory

    try:
        owner = Directory(directory).owner()
    except FileNotFoundError:
        return Finding("learner", "warn", "has never owned the store")
    if owner is None:
        return Finding("learner", "warn", "does not run: start `livefactor learn`")
    return Finding("learner", "ok", f"runs as process {owner}")


def disk_finding(directory: Path) -> Finding:
    """Whether the store's disk has room."""
    free_bytes = shutil.disk_usage(_existing(directory)).free
    text = f"{free_bytes / (1 << 30):,.1f} GiB free where {directory} is"
    if free_bytes < DISK_FAIL_BYTES:
        return Finding("disk", "fail", f"{text}: make room; a learner stops when a write fails")
    if free_bytes < DISK_WARN_BYTES:
        return Finding("disk", "warn", f"{text}: the store and its versions may need more")
    return Finding("disk", "ok", text)


def kernel_cache_finding() -> Finding:
    """Whether compiled kernels can be kept, so that a process starts in a second rather than in thirty."""
    import state.kernels

    named = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(named)] if named else [Path(str(state.kernels.__file__)).parent, Path.home()]
    for place in places:
        if os.access(_existing(place), os.W_OK):
            return Finding("kernel cache", "ok", f"writable under {place}")
    return Finding(
        "kernel cache",
        "warn",
        f"not writable ({', '.join(map(str, places))}): every start compiles for half a minute; "
        "set NUMBA_CACHE_DIR to a writable directory",
    )


def scorer_finding(address: str) -> Finding:
    """Whether a scorer answers and is ready."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=SCORER_TIMEOUT_S
            )
        except grpc.RpcError as error:
            return Finding(
                "scorer",
                "warn",
                f"does not answer at {address} ({error.code().name}): start `livefactor serve`",
            )
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return Finding("scorer", "ok", f"answers at {address}")
    return Finding("scorer", "warn", f"at {address} waits for a store to follow")


def _existing(path: Path) -> Path:
    """The path itself or the nearest directory above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
