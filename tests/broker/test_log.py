"""What a log may hold besides records, and what it may become: transactions, and topics created anew."""

import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import confluent_kafka as ck
import pytest
from kafka_broker import KafkaBroker
from learn_process import head_of
from pipeline import event, in_directory, small_settings
from structlog.testing import capture_logs

from state.errors import LogChangedError, TransactionOpenError
from state.store import TopicPartition
from stream import loop
from stream.config import LearnerSettings
from stream.kafka import create_topics, health
from stream.lineage.verify import verify
from stream.run import group, open_source, run_learner

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(broker: KafkaBroker, tmp_path: Path, request: pytest.FixtureRequest) -> LearnerSettings:
    name = f"log-{zlib.crc32(request.node.name.encode())}"
    topics = {topic: f"{name}.{topic}" for topic in ("interactions", "items", "control", "dlq", "drift")}
    kafka = {"bootstrap.servers": broker.bootstrap}
    made = small_settings(kafka=kafka, topics={**topics, "partitions": 1}, model={"name": name})
    create_topics(made.kafka, made.topics)
    return in_directory(made, tmp_path / "state")


@pytest.fixture
def producer(settings: LearnerSettings) -> Iterator[ck.Producer]:
    """One with a transaction begun."""
    made = ck.Producer({**settings.kafka, "transactional.id": settings.model.name, "log_level": 0})
    made.init_transactions(30)
    made.begin_transaction()
    yield made
    made.purge()


def send(producer: ck.Producer, settings: LearnerSettings, count: int) -> None:
    for n in range(count):
        producer.produce(settings.topics.interactions, event(f"u{n % 5}", f"i{n % 7}"), partition=0)
    assert producer.flush(30) == 0


def learn(settings: LearnerSettings) -> int:
    """Learn to the end; where the store stands then."""
    run_learner(settings, until_end=True, stop=threading.Event())
    head = head_of(settings.state.directory)
    assert head is not None
    return head.offsets[TopicPartition(settings.topics.interactions, 0)]


def lag(settings: LearnerSettings) -> int:
    """Of the learner's group, as tools see it."""
    where = ck.TopicPartition(settings.topics.interactions, 0)
    with closing(ck.Consumer({**settings.kafka, "group.id": group(settings)})) as consumer:
        _, end = consumer.get_watermark_offsets(where, timeout=30)
        (committed,) = consumer.committed([where], timeout=30)
        return int(end - committed.offset)


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "aborted"])
def test_the_end_of_a_transaction_is_passed(
    commit: bool, settings: LearnerSettings, producer: ck.Producer, broker: KafkaBroker, tmp_path: Path
) -> None:
    """Even if retention takes away the marker before the learner starts again."""
    send(producer, settings, 10)
    (producer.commit_transaction if commit else producer.abort_transaction)(30)
    assert learn(settings) == 11
    assert lag(settings) == 0
    with closing(open_source(settings)) as source:
        verdict = verify(settings, source, tmp_path / "scratch")
    assert verdict.agrees, verdict
    broker.delete_records_before(settings.topics.interactions, 0, 11)
    assert learn(settings) == 11


def test_an_open_transaction_is_named_and_not_waited_for_without_end(
    settings: LearnerSettings, producer: ck.Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before it is learnt, what comes after it waits, and nobody is left to guess."""
    monkeypatch.setattr(health, "HELD_MAX_S", 1.0)
    monkeypatch.setattr(loop, "HELD_WAIT_S", 4.0)
    plain = ck.Producer(settings.kafka)
    send(plain, settings, 5)
    send(producer, settings, 3)
    send(plain, settings, 100)
    named = rf"{settings.topics.interactions} partition 0: an open transaction .* from offset 5 up to 108"
    with capture_logs() as logs, pytest.raises(TransactionOpenError, match=named):
        learn(settings)
    assert [line for line in logs if line["event"] == "hindered" and "open transaction" in line["problem"]]
    producer.commit_transaction(30)
    deadline_s = time.monotonic() + 60
    while learn(settings) < 109:
        assert time.monotonic() < deadline_s
    assert lag(settings) == 0


def test_a_topic_created_anew_is_refused_until_it_is_accepted(
    settings: LearnerSettings, broker: KafkaBroker, tmp_path: Path
) -> None:
    """Although its new log is longer: what comes before the stored offset would be skipped without a word."""
    topic = settings.topics.interactions
    plain = ck.Producer(settings.kafka)
    send(plain, settings, 10)
    assert learn(settings) == 10
    broker.delete_topic(topic)
    broker.create_topic(topic, 1)
    send(plain, settings, 30)
    with pytest.raises(LogChangedError, match=f"topic {topic} was deleted and created anew.*--accept-topic"):
        learn(settings)
    with closing(open_source(settings)) as source:
        verdict = verify(settings, source, tmp_path / "refused")
    assert verdict.agrees is None
    assert "another log" in verdict.spans[0]
    run_learner(settings, until_end=True, accept_topic=True, stop=threading.Event())
    assert learn(settings) == 30
    with closing(open_source(settings)) as source:
        verdict = verify(settings, source, tmp_path / "accepted")
    assert verdict.agrees, verdict
