"""The subscribers in `docs/subscribers/` do what their first lines say."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import pytest
from scorer_process import REPOSITORY, lines_of

from protos.events_pb2 import SEVERITY_ERROR, CommandResult, DriftEvent
from stream.cloud_events import cloud_event, webhook_destination
from stream.config import WebhookConfig
from stream.kafka import EmbeddedCluster, KafkaPublisher
from stream.webhooks import WebhookSink

FOLDER = REPOSITORY / "docs" / "subscribers"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TOPIC = "livefactor.drift.v1"
EVENT = DriftEvent(
    id="e1", model="films", severity=SEVERITY_ERROR, reason="taste_lost", message="it lost its lead"
)
WAIT_MS = 30_000


@contextmanager
def subscriber(
    *command: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """One that runs until the block ends."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_consumer_of_the_topic_prints_each_event_once() -> None:
    record = cloud_event(TOPIC, "films", EVENT.id, EVENT)
    answer = cloud_event(TOPIC, "films", "c1", CommandResult(command_id="c1"))
    last = DriftEvent(id="e2", severity=SEVERITY_ERROR, reason="item_pumped", message="it is pushed")
    with EmbeddedCluster((TOPIC,)) as cluster:
        with KafkaPublisher(cluster.settings) as publisher:
            for sent in (answer, record, record, cloud_event(TOPIC, "films", last.id, last)):
                publisher.publish(sent.topic, sent.key, sent.value, sent.headers)
            publisher.flush(WAIT_MS)
        servers = str(cluster.settings["bootstrap.servers"])
        with subscriber(sys.executable, str(FOLDER / "topic.py"), servers) as process:
            line = lines_of(process)
            assert line() == "SEVERITY_ERROR taste_lost: it lost its lead"
            assert line() == "SEVERITY_ERROR item_pumped: it is pushed"


def test_a_receiver_in_java_takes_what_is_signed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("NO JAVA: `java` (17 or later) is needed to run the example of a webhook's receiver")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    command = (java, str(FOLDER / "Webhook.java"), "0")
    with subscriber(*command, environment={"WEBHOOK_SECRET": SECRET}) as process:
        line = lines_of(process)
        url = f"http://127.0.0.1:{line().rpartition(' ')[2]}/"
        other = SECRET.replace("AAEC", "AAED")
        for secret, taken in (("", False), (other, False), (SECRET, True), (SECRET, True)):
            with closing(WebhookSink({"java": WebhookConfig(url=url, secret=secret)})) as hooks:
                hooks.send(1, cloud_event(webhook_destination("java"), "films", EVENT.id, EVENT))
                arrived, undelivered = hooks.take(WAIT_MS)
            assert arrived == ([1] if taken else [])
            assert [failed.reason[:8] for failed in undelivered] == ([] if taken else ["HTTP 401"])
        assert json.loads(line())["message"] == EVENT.message
        with closing(WebhookSink({"java": WebhookConfig(url=url, secret=SECRET)})) as hooks:
            next_event = DriftEvent(id="e2", message="another")
            hooks.send(1, cloud_event(webhook_destination("java"), "films", "e2", next_event))
            assert hooks.take(WAIT_MS)[0] == [1]
        assert json.loads(line())["id"] == "e2", "the second delivery of the same event was printed"
