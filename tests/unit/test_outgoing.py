"""The outbox's two ways out, and the letter about what a webhook did not take."""

from contextlib import closing

from memory_log import MemoryLog, MemorySink
from scorer_process import until
from webhook_server import WebhookServer

from livefactor.dead_letters import parse
from protos.events_pb2 import DriftEvent
from state.store import OutboxRecord
from stream.cloud_events import cloud_event, webhook_destination, webhook_of
from stream.config import WebhookConfig
from stream.outgoing import Outgoing
from stream.webhooks import WebhookSink

DLQ, TOPIC = "dlq", "drift"
EVENT = DriftEvent(id="e1", model="films")


def to(name: str) -> OutboxRecord:
    return cloud_event(webhook_destination(name), "films", "e1", EVENT)


def log_of(*topics: str) -> MemoryLog:
    log = MemoryLog()
    for topic in topics:
        log.create_topic(topic)
    return log


def test_a_destination_is_a_topic_or_a_webhook() -> None:
    assert webhook_of(webhook_destination("ops")) == "ops"
    assert webhook_of("livefactor.drift.v1") == ""


def test_each_record_takes_its_way() -> None:
    log = log_of(TOPIC, DLQ)
    with WebhookServer() as server:
        hooks = WebhookSink({"ops": WebhookConfig(url=server.url)})
        with closing(Outgoing(MemorySink(log), hooks, DLQ, "1")) as out:
            assert out.send(1, OutboxRecord(TOPIC, b"k", b"v", ()))
            assert out.send(2, to("ops"))
            arrived = set()
            until(lambda: arrived.update(out.flush(10)) or arrived == {1, 2})
    assert [record.value for record in log.read(TOPIC)] == [b"v"]
    assert server.came.get_nowait().headers["webhook-id"] == "e1"
    assert log.read(DLQ) == []


def test_what_no_webhook_takes_has_arrived_when_the_broker_has_the_letter() -> None:
    log = log_of(DLQ)
    with closing(Outgoing(MemorySink(log), WebhookSink({}), DLQ, "1")) as out:
        log.stop()
        out.send(5, to("gone"))
        assert list(out.poll()) == []
        log.start()
        until(lambda: list(out.poll()) == [5])
    [record] = log.read(DLQ)
    letter = parse(record.key, record.value, tuple(record.headers or ()))
    assert letter is not None
    assert (letter.source, letter.code) == (("webhook:gone", 0, 5), "webhook_failed")
    assert letter.original() == to("gone")
