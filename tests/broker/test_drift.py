"""A fault in the stream of a real broker, found by a real learner, told to three subscribers at once.

One of them hears it from the store before anyone else can be reached; the learner is killed then.
"""

import signal
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from queue import Queue
from typing import Any

import orjson
import pytest
from crash_log import TopicReader
from kafka_broker import KafkaBroker
from learn_process import LearnProcess, outbox_of
from scorer_process import ScorerProcess
from streams import likes_by_taste
from webhook_server import Answer, WebhookServer

from livefactor import Client
from livefactor.drill.faults import plant
from protos.events_pb2 import DRIFT_ACTION_RETRAIN, DriftEvent
from stream.config import TopicsConfig
from stream.kafka import KafkaPublisher, create_topics

pytestmark = pytest.mark.broker

BEFORE, AFTER = 4_800, 600
WAIT_S = 120.0


def sections_for(broker: KafkaBroker, folder: Path, url: str) -> dict[str, Mapping[str, Any]]:
    name = folder.name
    kinds = ("interactions", "dlq", "items", "control", "drift")
    return {
        "kafka": {"bootstrap.servers": broker.bootstrap},
        "topics": {**{kind: f"{name}.{kind}" for kind in kinds}, "partitions": 1},
        "state": {"directory": str(folder / "store"), "rows_max": 110_000, "items_max": 5_000},
        "learning": {"rank": 4, "batch_records_max": 100},
        "prequential": {"sample_every": 1, "work_max": 10**9},
        "ranking": {"repeats": True},
        "drift": {"webhooks": {"ops": {"url": url}}, "cool_down_ms": 10**12},
    }


def publish(sections: Mapping[str, Mapping[str, Any]]) -> None:
    rows = likes_by_taste(BEFORE + AFTER, users=300, items=120, tastes=6)
    faulty = plant(rows, "shuffle-labels", slice(BEFORE, BEFORE + AFTER), 3)
    with KafkaPublisher(sections["kafka"]) as publisher:
        for n, row in enumerate(faulty):
            value = orjson.dumps(row | {"event_time_ms": 1_600_000_000_000 + 60_000 * n})
            publisher.publish(sections["topics"]["interactions"], b"k", value)
        publisher.flush(60_000)


def watched(client: Client) -> Queue[DriftEvent]:
    """What the scorer tells, from the oldest event on."""
    came: Queue[DriftEvent] = Queue()

    def read() -> None:
        for event in client.watch_drift(""):
            came.put(event)

    threading.Thread(target=read, daemon=True).start()
    return came


def test_a_fault_is_told_to_all_once_though_the_learner_is_killed_in_between(
    broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with WebhookServer(Answer(503)) as server:
        sections = sections_for(broker, tmp_path, server.url)
        topics = sections["topics"]
        for kind in ("interactions", "control", "dlq"):
            broker.create_topic(topics[kind], 1)
        publish(sections)
        with LearnProcess(sections, tmp_path) as learner:
            learner.wait_for_line("learning")
            with ScorerProcess(tmp_path / "store") as scorer, Client(scorer.address) as client:
                told = watched(client)
                first = told.get(timeout=WAIT_S)
                refused = server.came.get(timeout=WAIT_S)
                said = learner.wait_for_line("hindered", f"topic {topics['drift']} was not taken")
                assert "run `livefactor topics create`" in said["problem"]
                assert learner.stop(how=signal.SIGKILL) == -signal.SIGKILL
                kept = outbox_of(tmp_path / "store")[:2]
                assert [DriftEvent.FromString(record.value or b"") for record in kept] == [first, first]
                server.answer(Answer())
                with LearnProcess(sections, tmp_path, "--until-end") as again:
                    again.wait_for_line("hindered", "run `livefactor topics create`")
                    created = create_topics(sections["kafka"], TopicsConfig(**topics))
                    assert (topics["drift"], "created") in created
                    assert again.wait() == 0, again.said()
                with closing(TopicReader(broker.bootstrap, topics["drift"])) as reader:
                    on_topic = [DriftEvent.FromString(record.value or b"") for record in reader.read()]
                assert on_topic == [first, *(told.get(timeout=WAIT_S) for _ in on_topic[1:])]
                assert told.empty()
        posted = [server.came.get_nowait().headers["webhook-id"] for _ in range(server.came.qsize())]
    # Whether a version was there to compare with, and so harm to be told of too, is a matter of moments.
    assert [event.reason for event in on_topic[1:]] in ([], ["updates_do_harm"])
    assert (first.reason, first.action) == ("taste_lost", DRIFT_ACTION_RETRAIN)
    assert abs(first.positions[0].offset - BEFORE) < 60
    assert refused.headers["webhook-id"] == first.id
    assert set(posted) == {event.id for event in on_topic}
