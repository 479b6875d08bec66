"""The subscribers in `docs/subscribers/` do what their first lines say."""

import base64
import json
import shutil
import sys
from contextlib import closing

import pytest
from scorer_process import REPOSITORY, printing

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
        with printing(sys.executable, str(FOLDER / "topic.py"), servers) as line:
            assert line() == "SEVERITY_ERROR taste_lost: it lost its lead"
            assert line() == "SEVERITY_ERROR item_pumped: it is pushed"


def test_a_receiver_in_java_takes_what_is_signed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("NO JAVA: `java` (17 or later) is needed to run the example of a webhook's receiver")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    command = (java, str(FOLDER / "Webhook.java"), "0")
    with printing(*command, environment={"WEBHOOK_SECRET": SECRET}) as line:
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
