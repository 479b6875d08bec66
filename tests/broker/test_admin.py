"""Orders over gRPC to a scorer, through the log, to a learner: as an operator's program gives them."""

import sys
from pathlib import Path

import grpc
import pytest
from crash_process import wait_for
from kafka_broker import KafkaBroker
from learn_process import LearnProcess, head_of
from pipeline import event, keep_version
from scorer_process import printing

from protos.admin_pb2 import FreezeRequest, ResumeRequest, RollbackRequest, VersionsRequest
from protos.admin_pb2_grpc import AdminStub
from protos.events_pb2 import OffsetRange
from stream.config import LearnerSettings, TopicsConfig
from stream.kafka import KafkaPublisher, create_topics

pytestmark = pytest.mark.broker

TIMEOUT_S = 60.0


def test_a_model_is_operated(broker: KafkaBroker, tmp_path: Path) -> None:
    kinds = ("interactions", "dlq", "items", "control", "drift")
    topics = {**{kind: f"{tmp_path.name}.{kind}" for kind in kinds}, "partitions": 1}
    sections = {
        "kafka": {"bootstrap.servers": broker.bootstrap},
        "topics": topics,
        "state": {
            "directory": str(tmp_path / "store"),
            "rows_max": 110_000,
            "items_max": 1_000,
        },
        "learning": {"rank": 4},
    }
    create_topics(sections["kafka"], TopicsConfig(**topics))
    with KafkaPublisher(sections["kafka"]) as publisher:
        for n in range(100):
            publisher.publish(topics["interactions"], b"k", event(f"u{n % 10}", f"i{n % 9}"))
        publisher.flush(60_000)
    with LearnProcess(sections, tmp_path, "--until-end") as learner:
        assert learner.wait(120.0) == 0, learner.said()
    version = str(keep_version(LearnerSettings.model_validate(sections)))
    serve = "serve", "--config", str(tmp_path / "livefactor.toml"), "--set", "serving.listen=127.0.0.1:0"
    with (
        LearnProcess(sections, tmp_path) as learner,
        printing(sys.executable, "-m", "livefactor.cli", *serve) as line,
        grpc.insecure_channel(line().removeprefix("listening on ")) as channel,
    ):
        learner.wait_for_line("learning")
        stub = AdminStub(channel)
        frozen = stub.Freeze(FreezeRequest(reason="a look"), timeout=TIMEOUT_S)
        assert (frozen.applied, frozen.frozen) == (True, True)
        resumed = stub.Resume(ResumeRequest(learn_missed=True), timeout=TIMEOUT_S)
        assert (resumed.applied, resumed.frozen) == (True, False)
        unknown = stub.Rollback(RollbackRequest(version="g9.1"), timeout=TIMEOUT_S)
        assert not unknown.applied
        assert "version g9.1 is not kept" in unknown.message
        outside = OffsetRange(topic=topics["interactions"], partition=0, first=90, next=900)
        refused = stub.Rollback(RollbackRequest(exclude=[outside]), timeout=TIMEOUT_S)
        assert not refused.applied
        assert "only offsets before 100 have been read" in refused.message
        done = stub.Rollback(RollbackRequest(version=version, replay=True), timeout=TIMEOUT_S)
        assert done.applied, done.message
        wait_for(lambda: kept(stub)[-1].startswith("g2."), "the base of the next generation")
        assert version in kept(stub)
        assert learner.stop() == 0, learner.said()
    head = head_of(tmp_path / "store")
    assert head is not None
    assert head.generation == 2


def kept(stub: AdminStub) -> list[str]:
    """Names of the versions that are kept, the latest last."""
    return [each.version for each in stub.Versions(VersionsRequest(), timeout=TIMEOUT_S).versions]
