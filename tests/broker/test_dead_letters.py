"""Dead letters on their way through a real learner, to a topic that may be too small or missing."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crash_log import Stored, TopicReader
from crash_process import wait_for
from kafka_broker import KafkaBroker
from learn_process import LearnProcess, head_of, model_of, outbox_of
from pipeline import event
from source_checks import eventually

from state.store import OutboxRecord, TopicPartition
from stream.config import LearnerSettings
from stream.dead_letters import HEADERS
from stream.kafka import KafkaPublisher, KafkaSink, create_topics

pytestmark = pytest.mark.broker

LARGE = bytes(range(256)) * 5_860
OWN_HEADERS = (("source", b"app"), ("trace", b"\xff\x00"))
TOPIC_BYTES_MAX = str(2 << 20)


@dataclass(frozen=True)
class Scene:
    """A model of its own on the shared broker, with topics of one partition."""

    broker: KafkaBroker
    folder: Path
    sections: Mapping[str, Mapping[str, Any]]

    @property
    def settings(self) -> LearnerSettings:
        return LearnerSettings.model_validate(self.sections)

    def learner(self, *flags: str, **kafka: Any) -> LearnProcess:
        """A learner, with further librdkafka settings."""
        sections = {**self.sections, "kafka": {**self.sections["kafka"], **kafka}}
        return LearnProcess(sections, self.folder, *flags)

    def publish(self, *values: bytes) -> None:
        """Add records with headers of their own, and return once the log has them."""
        with KafkaPublisher(self.settings.kafka) as publisher:
            for value in values:
                publisher.publish(self.settings.topics.interactions, b"ann", value, OWN_HEADERS)
            publisher.flush(30_000)

    def letters(self, *offsets: int) -> dict[int, Stored]:
        """Dead letters by the offset of the record that each came from, once these are among them."""
        found: dict[int, Stored] = {}
        with closing(TopicReader(self.broker.bootstrap, self.settings.topics.dlq)) as reader:

            def complete() -> bool:
                found.update((int(letter.headers["source-offset"]), letter) for letter in reader.read())
                return found.keys() >= set(offsets)

            wait_for(complete, f"dead letters of the records {offsets}", 180.0)
        return found

    def wait_until_learnt(self, offset: int) -> None:
        """Return once the store stands at an offset of the interactions."""
        where = TopicPartition(self.settings.topics.interactions, 0)

        def stands() -> int:
            head = head_of(self.settings.state.directory)
            return head.offsets.get(where, 0) if head else 0

        wait_for(lambda: stands() >= offset, f"offset {offset}", 180.0)
        assert stands() == offset

    def outbox(self) -> list[OutboxRecord]:
        """What no broker has acknowledged yet."""
        return outbox_of(self.settings.state.directory)

    def wait_until_sent(self) -> None:
        """Return once a broker has acknowledged everything."""
        wait_for(lambda: not self.outbox(), "an empty outbox")


@pytest.fixture
def scene(broker: KafkaBroker, tmp_path: Path) -> Scene:
    """All topics but the dead letters', of which each test has its own."""
    name = tmp_path.name
    topics = {kind: f"{name}.{kind}" for kind in ("interactions", "dlq", "items", "control", "drift")}
    for kind in ("interactions", "control", "drift"):
        broker.create_topic(topics[kind], 1, {"max.message.bytes": TOPIC_BYTES_MAX})
    sections = {
        "kafka": {"bootstrap.servers": broker.bootstrap},
        "topics": {**topics, "partitions": 1},
        "state": {"directory": str(tmp_path / "store"), "rows_max": 110_000, "items_max": 5_000},
        "learning": {"rank": 8},
    }
    return Scene(broker, tmp_path, sections)


def own_headers(letter: Stored) -> dict[str, bytes]:
    return {name: value for name, value in letter.headers.items() if name not in HEADERS}


def test_a_record_of_one_and_a_half_megabytes_is_a_dead_letter_and_learning_goes_on(scene: Scene) -> None:
    """More than `decode.record_bytes_max`: whole and with its headers, into the topic of `topics create`."""
    create_topics(scene.settings.kafka, scene.settings.topics)
    with scene.learner() as learner:
        scene.publish(event("ann", "film-1"), LARGE, event("ann", "film-2"))
        letters = scene.letters(1)
        scene.publish(event("ann", "film-3"))
        scene.wait_until_learnt(4)
        scene.wait_until_sent()
        assert learner.stop() == 0, learner.said()
    (letter,) = letters.values()
    assert (letter.key, letter.value) == (b"ann", LARGE)
    assert own_headers(letter) == dict(OWN_HEADERS)
    assert letter.headers["code"] == b"record_too_large"
    assert f"{len(LARGE):,} bytes" in letter.headers["reason"].decode()
    assert model_of(scene.settings).clock == 3


@pytest.mark.slow
def test_a_dead_letter_too_large_for_its_topic_holds_up_no_other(scene: Scene) -> None:
    """Others are sent, even those too large together; it says what it waits for, and goes after that."""
    dlq = scene.settings.topics.dlq
    scene.broker.create_topic(dlq, 1, {"max.message.bytes": "100000"})
    scene.publish(*[b"\xff" * 40_000] * 5, LARGE, *[b"\xff" * 40_000] * 5, event("ann", "film"))
    with scene.learner() as learner:
        assert 5 not in scene.letters(0, 1, 2, 3, 4, 6, 7, 8, 9, 10)
        said = learner.wait_for_line("hindered", f"topic {dlq} was not taken: Broker: Message size")
        assert "raise its max.message.bytes" in said["problem"]
        scene.wait_until_learnt(12)
        scene.broker.configure_topic(dlq, {"max.message.bytes": TOPIC_BYTES_MAX})
        scene.wait_until_sent()
        learner.wait_for_line("going on")
        assert learner.stop() == 0, learner.said()
    assert scene.letters(5)[5].value == LARGE
    assert model_of(scene.settings).clock == 1


def test_a_dead_letter_too_large_for_the_client_is_kept_for_the_next_learner(scene: Scene) -> None:
    """`[kafka] "message.max.bytes"` may be too small as well; other dead letters are sent nevertheless."""
    create_topics(scene.settings.kafka, scene.settings.topics)
    scene.publish(LARGE, b"\xff", event("ann", "film"))
    with scene.learner(**{"message.max.bytes": 1_000_000}) as learner:
        assert scene.letters(1).keys() == {1}
        scene.wait_until_learnt(3)
        learner.wait_for_line("hindered", '[kafka] "message.max.bytes"')
        assert learner.stop() == 0, learner.said()
    assert [record.value for record in scene.outbox()] == [LARGE]
    with scene.learner("--until-end") as learner:
        assert learner.wait() == 0, learner.said()
    letter = scene.letters(0)[0]
    assert (letter.value, own_headers(letter)) == (LARGE, dict(OWN_HEADERS))
    assert scene.outbox() == []


@pytest.mark.slow
def test_a_missing_dead_letter_topic_is_named_and_the_letter_sent_once_it_exists(scene: Scene) -> None:
    """Learning goes on without the topic; the letter waits for it in the outbox."""
    dlq = scene.settings.topics.dlq
    scene.publish(event("ann", "film-1"), b"{poison", event("ann", "film-2"))
    with scene.learner() as learner:
        learner.wait_for_line("hindered", f"topic {dlq} was not taken: Broker: Unknown topic")
        learner.wait_for_line("hindered", "run `livefactor topics create`")
        scene.publish(event("ann", "film-3"))
        scene.wait_until_learnt(4)
        assert (dlq, "created") in create_topics(scene.settings.kafka, scene.settings.topics)
        scene.wait_until_sent()
        learner.wait_for_line("going on")
        assert learner.stop() == 0, learner.said()
    (letter,) = scene.letters(1).values()
    assert (letter.value, own_headers(letter)) == (b"{poison", dict(OWN_HEADERS))
    assert model_of(scene.settings).clock == 3


def test_a_sink_sends_one_by_one_what_is_too_large_together(broker: KafkaBroker, tmp_path: Path) -> None:
    """A broker measures batches; and others that are taken do not end the problem of the one that is not."""
    topic = tmp_path.name
    broker.create_topic(topic, 1, {"max.message.bytes": "1000"})
    with closing(KafkaSink({"bootstrap.servers": broker.bootstrap})) as sink:
        for number in range(20):
            assert sink.send(number, OutboxRecord(topic, b"k", b"x" * (5_000 if number == 7 else 300)))
        acknowledged: list[int] = []
        eventually(lambda: len(acknowledged.extend(sink.flush(100)) or acknowledged) >= 19, "the others")
        assert sorted(acknowledged) == [number for number in range(20) if number != 7]
        assert f"topic {topic} was not taken" in str(sink.problem())
        assert sink.send(20, OutboxRecord(topic, b"k", b"v"))
        eventually(lambda: 20 in sink.poll(), "another")
        assert sink.problem() is not None
