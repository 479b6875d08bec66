"""Source, sink, publisher and topics against a real Apache Kafka broker."""

import gc
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import confluent_kafka as ck
import pytest
import raw_produce
from kafka_broker import KafkaBroker, free_port
from source_checks import (
    CHECKS,
    OUTAGE_CHECKS,
    RETENTION_CHECKS,
    TRANSACTION_CHECKS,
    Ground,
    OutageGround,
    RetentionGround,
    TransactionGround,
    eventually,
    everywhere,
    opened,
    polled,
    rows,
)
from source_grounds import BrokerGround

from state.errors import BrokerUnreachableError, ConfigError, SourceError, TopicMissingError
from state.store import OutboxRecord, TopicPartition
from stream.config import TopicsConfig
from stream.kafka import (
    UNREADABLE_HEADERS,
    KafkaPublisher,
    KafkaSink,
    KafkaSource,
    Setting,
    check_topics,
    create_topics,
)

pytestmark = pytest.mark.broker


def name(check: Callable[..., None]) -> str:
    return check.__name__.removeprefix("check_")


@pytest.fixture(scope="session")
def ground(broker: KafkaBroker) -> BrokerGround:
    return BrokerGround(broker)


@pytest.mark.parametrize("check", CHECKS, ids=name)
def test_contract(check: Callable[[Ground], None], ground: BrokerGround) -> None:
    check(ground)


@pytest.mark.parametrize("check", RETENTION_CHECKS, ids=name)
def test_retention(check: Callable[[RetentionGround], None], ground: BrokerGround) -> None:
    check(ground)


@pytest.mark.parametrize("check", TRANSACTION_CHECKS, ids=name)
def test_transactions(check: Callable[[TransactionGround], None], ground: BrokerGround) -> None:
    check(ground)


@pytest.mark.slow
@pytest.mark.parametrize("check", OUTAGE_CHECKS, ids=name)
def test_outage(check: Callable[[OutageGround], None], ground: BrokerGround) -> None:
    check(ground)


def test_a_record_that_was_not_acknowledged_in_time_disturbs_no_other(
    broker: KafkaBroker, ground: BrokerGround
) -> None:
    """It may arrive later, among those that come after it, and each is told its own position."""
    topic = ground.topic()
    with KafkaPublisher({"bootstrap.servers": broker.bootstrap}) as publisher:
        publisher.deliver(topic, b"ann", b"first", 30_000)
        with broker.frozen(), pytest.raises(BrokerUnreachableError, match=r"may arrive yet.*event_id"):
            publisher.deliver(topic, b"bob", b"late", 300)
        places = {key: publisher.deliver(topic, key, key, 30_000) for key in (b"cem", b"dee", b"eve", b"ann")}
    with opened(ground, everywhere(topic)) as source:
        found = {value: (p, offset) for _, p, offset, value in rows(polled(source, 6))}
    assert set(found) == {b"first", b"late", *places}
    for key, (where, following) in places.items():
        assert found[key] == (where.partition, following - 1)


def test_null_header_values_become_empty(ground: BrokerGround) -> None:
    """A header without a value is legal in Kafka; the rest of the program need not know."""
    topic = ground.topic()
    producer = ck.Producer(ground.settings)
    producer.produce(topic, value=b"v", headers=[("a", None), ("b", b"x")], partition=0)
    producer.produce(topic, value=b"w", partition=0)
    producer.flush(10)
    with opened(ground, everywhere(topic)) as source:
        headers = [pairs for part in polled(source, 2) for pairs in part.headers]
    assert headers == [[("a", b""), ("b", b"x")], None]


def test_header_names_that_are_no_text_stop_nothing(ground: BrokerGround, broker: KafkaBroker) -> None:
    """Such headers are replaced by one that says so; records around them are untouched."""
    topic = ground.topic()
    for name in (b"good", b"\xff\xfe", b"\xff\xfd", b"good"):
        raw_produce.produce(broker.bootstrap, topic, 0, b"value", [(b"first", b"1"), (name, b"2")])
    with opened(ground, everywhere(topic)) as source:
        parts = polled(source, 4)
    headers = [list(pairs or ()) for part in parts for pairs in part.headers]
    good, unreadable = [("first", b"1"), ("good", b"2")], list(UNREADABLE_HEADERS)
    assert headers == [good, unreadable, unreadable, good]
    assert [value for *_, value in rows(parts)] == [b"value"] * 4


def test_aborted_transactions_are_not_read(ground: BrokerGround) -> None:
    """Only committed records arrive, and markers at the end do not keep a partition from being caught up."""
    topic = ground.topic()
    producer = ck.Producer({**ground.settings, "transactional.id": topic})
    producer.init_transactions(20)
    for value, end in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value=value, partition=0)
        producer.flush(10)
        end(20)
    with opened(ground, everywhere(topic)) as source:
        assert list(rows(polled(source, 1))) == [(topic, 0, 2, b"committed")]
        assert source.limits([TopicPartition(topic, 0)])[TopicPartition(topic, 0)] == (0, 4)
        eventually(lambda: not source.poll(10, 50) and all(source.caught_up().values()), "the end")


def test_group_offsets_are_there_for_lag_tools(ground: BrokerGround) -> None:
    """What was committed can be read back with the group's name; the last commit is not lost by closing."""
    topic = ground.topic()
    ground.append(topic, 0, [b"v"] * 5)
    with opened(ground, everywhere(topic)) as source:
        polled(source, 5)
        source.commit({TopicPartition(topic, 0): 3})
        eventually(lambda: not source.poll(10, 50) and group_offset(ground, topic) == 3, "its offset")
        source.commit({TopicPartition(topic, 0): 5})
    assert group_offset(ground, topic) == 5


@pytest.mark.slow
def test_group_offsets_go_on_after_an_outage(ground: BrokerGround, broker: KafkaBroker) -> None:
    """Whatever became of a commit that was on its way when the broker went."""
    topic = ground.topic()
    ground.append(topic, 0, [b"v"] * 5)
    with opened(ground, everywhere(topic)) as source:
        polled(source, 5)
        with broker.frozen():
            source.commit({TopicPartition(topic, 0): 3})
            with broker.killed():
                eventually(lambda: not source.poll(10, 100) and source.problem() is not None, "a problem")
        source.commit({TopicPartition(topic, 0): 5})
        eventually(lambda: not source.poll(10, 100) and group_offset(ground, topic) == 5, "its offset")


def group_offset(ground: BrokerGround, topic: str) -> int | None:
    """What a lag tool sees of the topic's first partition; None while the broker does not say."""
    tool = ck.Consumer({**ground.settings, "group.id": "contract"})
    try:
        (found,) = tool.committed([ck.TopicPartition(topic, 0)], timeout=10)
        return int(found.offset)
    except ck.KafkaException:
        return None
    finally:
        tool.close()


def test_publishers_partition_as_the_java_client_does(ground: BrokerGround) -> None:
    """murmur2 of the key, made positive, modulo the partitions: known values of the Java client."""
    topic = ground.topic()
    # org.apache.kafka.common.utils.UtilsTest: murmur2("21") = -973932308, murmur2("foobar") = -790332482.
    expected = {
        b"21": (-973932308 & 0x7FFFFFFF) % 4,
        b"foobar": (-790332482 & 0x7FFFFFFF) % 4,
        b"a-little-bit-long-string": (-985981536 & 0x7FFFFFFF) % 4,
    }
    with KafkaPublisher(ground.settings) as publisher:
        for key in expected:
            publisher.publish(topic, key, key)
        positions = publisher.flush(20_000)
    assert sum(positions.values()) == 3
    with opened(ground, everywhere(topic)) as source:
        assert {value: partition for _, partition, _, value in rows(polled(source, 3))} == expected


def test_a_publisher_waits_where_the_queue_is_full(ground: BrokerGround) -> None:
    """More records than the queue holds are all delivered, and positions say where they end."""
    topic = ground.topic()
    settings = {**ground.settings, "queue.buffering.max.messages": 100, "linger.ms": 1}
    with KafkaPublisher(settings) as publisher:
        for number in range(5_000):
            publisher.publish(topic, b"%d" % number, b"v", [("h", b"1")])
        positions = publisher.flush(30_000)
        assert publisher.acknowledged == 5_000
    with closing(ground.source(topic)) as source:
        limits = source.limits(source.partitions())
    assert {where: end for where, (_, end) in limits.items()} == positions


def test_a_sink_with_a_full_queue_says_come_back_later(ground: BrokerGround) -> None:
    """`send` refuses without keeping the record, and takes it once there is room."""
    topic = ground.topic()
    record = OutboxRecord(topic, b"k", b"v")
    with closing(
        KafkaSink({**ground.settings, "queue.buffering.max.messages": 10, "linger.ms": 200})
    ) as sink:
        taken = [number for number in range(11) if sink.send(number, record)]
        assert taken == list(range(10))
        assert sorted(sink.flush(20_000)) == taken
        assert sink.send(10, record)
        assert list(sink.flush(20_000)) == [10]


def test_a_sink_keeps_what_the_broker_refuses(ground: BrokerGround, broker: KafkaBroker) -> None:
    """A record too large for its topic holds up no other, and `problem` says which kind it is."""
    topic, small = ground.topic(), ground.new_name()
    broker.create_topic(small, 1, {"max.message.bytes": "1000"})
    with closing(ground.sink()) as sink:
        assert sink.send(1, OutboxRecord(small, b"k", b"x" * 5_000))
        assert sink.send(2, OutboxRecord(topic, b"k", b"v"))
        acknowledged: list[int] = []
        eventually(lambda: bool(acknowledged.extend(sink.flush(100)) or acknowledged), "the other record")
        eventually(lambda: not sink.flush(100) and sink.problem() is not None, "a problem")
        assert f"topic {small} was not taken" in str(sink.problem())
        assert acknowledged == [2]


def test_a_sink_replaces_a_producer_that_failed_for_good(ground: BrokerGround) -> None:
    """After a fatal error librdkafka's producer takes nothing more; the sink opens another one."""
    topic = ground.topic()
    with closing(KafkaSink({**ground.settings, "linger.ms": 500})) as sink:
        assert sink.send(1, OutboxRecord(topic, b"k", b"v"))
        sink._note_error(ck.KafkaError(ck.KafkaError._FATAL, "out of order", True))
        assert list(sink.poll()) == []
        assert sink.problem() is not None
        assert list(sink.flush(20_000)) == [1]


def test_a_publisher_names_what_went_wrong() -> None:
    """Nobody listens: flushing fails by name, after its timeout."""
    address = f"127.0.0.1:{free_port()}"
    with KafkaPublisher({"bootstrap.servers": address}) as publisher:
        publisher.publish("topic", b"k", b"v")
        with pytest.raises(BrokerUnreachableError, match=f"1 published records.*{address}"):
            publisher.flush(200)


def test_a_publisher_waits_for_room_no_longer_than_told() -> None:
    """Nobody listens and the queue is full: publishing fails by name instead of waiting on."""
    address = f"127.0.0.1:{free_port()}"
    settings = {"bootstrap.servers": address, "queue.buffering.max.messages": 1}
    with KafkaPublisher(settings, room_timeout_ms=200) as publisher:
        publisher.publish("topic", b"k", b"v")
        with pytest.raises(BrokerUnreachableError, match=f"stayed full for 200 ms.*{address}"):
            publisher.publish("topic", b"k", b"v")


@pytest.mark.parametrize("connect", [KafkaPublisher, KafkaSink])
def test_closing_ends_the_threads_at_once(
    connect: Callable[[dict[str, Setting]], KafkaPublisher | KafkaSink], ground: BrokerGround
) -> None:
    """Without waiting for Python to collect what holds a closed producer."""
    gc.collect()
    gc.disable()
    try:
        before = len(list(Path("/proc/self/task").iterdir()))
        client = connect(ground.settings)
        assert len(list(Path("/proc/self/task").iterdir())) > before
        client.close()
        eventually(lambda: len(list(Path("/proc/self/task").iterdir())) <= before, "threads to end")
    finally:
        gc.enable()


def test_a_publisher_raises_what_the_broker_refuses(ground: BrokerGround, broker: KafkaBroker) -> None:
    small = ground.new_name()
    broker.create_topic(small, 1, {"max.message.bytes": "1000"})
    with KafkaPublisher(ground.settings) as publisher:
        publisher.publish(small, b"k", b"x" * 5_000)
        with pytest.raises(SourceError, match="too large"):
            publisher.flush(20_000)


def test_topics_are_created_once_and_found_good(broker: KafkaBroker) -> None:
    """`create` makes what is missing; `check` then has nothing to say."""
    topics = TopicsConfig(
        interactions="c.i", dlq="c.d", items="c.m", control="c.c", drift="c.r", partitions=3
    )
    kafka = {"bootstrap.servers": broker.bootstrap}
    assert len(check_topics(kafka, topics)) == 5
    assert create_topics(kafka, topics) == [(each, "created") for each in ("c.i", "c.d", "c.m", "c.c", "c.r")]
    eventually(lambda: check_topics(kafka, topics) == [], "good topics")
    assert {state for _, state in create_topics(kafka, topics)} == {"exists"}
    with closing(KafkaSource(kafka, "g", ["c.i", "c.c"])) as source:
        assert len(source.partitions()) == 3 + 1


def test_bad_topics_are_found(broker: KafkaBroker) -> None:
    """Each fault of a topic that would lose records or their order is a sentence of its own."""
    topics = TopicsConfig(interactions="b.i", dlq="b.d", items="b.m", control="b.c", drift="b.r")
    broker.create_topic("b.i", 1, {"retention.ms": "60000"})
    broker.create_topic("b.d", 1)
    broker.create_topic("b.m", 1)
    broker.create_topic("b.c", 2)
    findings = check_topics({"bootstrap.servers": broker.bootstrap}, topics)
    expected = ["b.r does not exist", "b.c has 2", "b.m is not compacted", "b.i keeps", "b.d takes"]
    assert len(findings) == len(expected)
    for words in expected:
        assert sum(words in finding for finding in findings) == 1


def test_topics_need_a_broker() -> None:
    kafka = {"bootstrap.servers": f"127.0.0.1:{free_port()}"}
    for ask in (check_topics, create_topics):
        with pytest.raises(BrokerUnreachableError, match=kafka["bootstrap.servers"]):
            ask(kafka, TopicsConfig(), 300)


def test_a_publisher_names_a_missing_topic(ground: BrokerGround) -> None:
    with KafkaPublisher({**ground.settings, "topic.metadata.propagation.max.ms": 0}) as publisher:
        publisher.publish("never-created", b"k", b"v")
        with pytest.raises(TopicMissingError, match="livefactor topics create"):
            publisher.flush(20_000)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("enable.auto.commit", True), ("auto.offset.reset", "earliest"), ("enable.auto.offset.store", "true")],
)
def test_what_exactly_once_rests_on_cannot_be_set(setting: str, value: str | bool) -> None:
    with pytest.raises(ConfigError, match=re.escape(setting)):
        KafkaSource({"bootstrap.servers": "127.0.0.1:1", setting: value}, "g", ["t"])


def test_settings_that_librdkafka_does_not_know_are_errors() -> None:
    with pytest.raises(ConfigError, match=r"\[kafka\].*no.such.setting"):
        KafkaSource({"bootstrap.servers": "127.0.0.1:1", "no.such.setting": 1}, "g", ["t"])
    with pytest.raises(ConfigError, match="acks"):
        KafkaSink({"bootstrap.servers": "127.0.0.1:1", "acks": 0})
