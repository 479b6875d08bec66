"""Logs under test: in memory, librdkafka's embedded cluster, a real broker."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import confluent_kafka as ck
from kafka_broker import KafkaBroker
from memory_log import MemoryLog, MemorySink, MemorySource
from source_checks import PARTITIONS, Headers

from stream.kafka import EmbeddedCluster, KafkaSink, KafkaSource, Setting

NAMES = map("topic-{}".format, itertools.count())


class MemoryGround:
    """A `MemoryLog`; it can trim, recreate and stop."""

    def __init__(self) -> None:
        self.log = MemoryLog()

    def topic(self) -> str:
        name = next(NAMES)
        self.log.create_topic(name, PARTITIONS)
        return name

    def append(
        self,
        topic: str,
        partition: int,
        values: Sequence[bytes | None],
        key: bytes | None = None,
        headers: Headers | None = None,
        timestamp_ms: int = 1_700_000_000_000,
    ) -> None:
        for value in values:
            self.log.append(topic, partition, value, key, headers, timestamp_ms)

    def source(self, *topics: str, request_timeout_ms: int = 20_000) -> MemorySource:
        return MemorySource(self.log, topics)

    def sink(self) -> MemorySink:
        return MemorySink(self.log)

    def begin_transaction(self, topic: str, partition: int, values: Sequence[bytes | None]) -> None:
        self.log.begin_transaction(topic, partition)
        self.append(topic, partition, values)

    def end_transaction(self, topic: str, partition: int, *, commit: bool) -> None:
        self.log.end_transaction(topic, partition, commit=commit)

    def trim(self, topic: str, partition: int, before: int) -> None:
        self.log.trim(topic, partition, before)

    def delete(self, topic: str) -> None:
        self.log.delete_topic(topic)

    def recreate(self, topic: str) -> None:
        self.log.recreate_topic(topic, PARTITIONS)

    def stop(self) -> None:
        self.log.stop()

    def start(self) -> None:
        self.log.start()


def _deliver(producer: ck.Producer, topic: str, values: Sequence[bytes | None], **more: Any) -> None:
    """Send, and see everything acknowledged."""
    told: list[ck.KafkaError | None] = []
    for value in values:
        producer.produce(topic, value=value, on_delivery=lambda error, _: told.append(error), **more)
    assert producer.flush(30) == 0
    assert told == [None] * len(values)


class KafkaGround:
    """Whatever speaks Kafka's protocol at `settings`; makes no topics itself."""

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self.settings = dict(settings)

    def new_name(self) -> str:
        return next(NAMES)

    def append(
        self,
        topic: str,
        partition: int,
        values: Sequence[bytes | None],
        key: bytes | None = None,
        headers: Headers | None = None,
        timestamp_ms: int = 1_700_000_000_000,
    ) -> None:
        # Idempotent, as every producer of ours is: what is sent once more is not there twice.
        settings = {**self.settings, "enable.idempotence": True, "linger.ms": 0, "log_level": 0}
        more = {"key": key, "partition": partition, "headers": headers, "timestamp": timestamp_ms}
        _deliver(ck.Producer(settings), topic, values, **more)

    def source(self, *topics: str, request_timeout_ms: int = 20_000) -> KafkaSource:
        return KafkaSource(self.settings, "contract", topics, request_timeout_ms)

    def sink(self) -> KafkaSink:
        return KafkaSink(self.settings)


class EmbeddedGround(KafkaGround):
    """The embedded cluster, which can neither trim nor delete."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        super().__init__(cluster.settings)
        self._cluster = cluster

    def topic(self) -> str:
        name = self.new_name()
        self._cluster.create_topics([name])
        return name


class BrokerGround(KafkaGround):
    """A real broker; it can do everything, and `stop` is a SIGKILL."""

    def __init__(self, broker: KafkaBroker) -> None:
        super().__init__({"bootstrap.servers": broker.bootstrap})
        self._broker = broker
        self._open: dict[tuple[str, int], ck.Producer] = {}

    def topic(self) -> str:
        name = self.new_name()
        self._broker.create_topic(name, PARTITIONS)
        return name

    def begin_transaction(self, topic: str, partition: int, values: Sequence[bytes | None]) -> None:
        producer = ck.Producer({**self.settings, "transactional.id": f"{topic}-{partition}", "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        _deliver(producer, topic, values, partition=partition)
        self._open[topic, partition] = producer

    def end_transaction(self, topic: str, partition: int, *, commit: bool) -> None:
        producer = self._open.pop((topic, partition))
        (producer.commit_transaction if commit else producer.abort_transaction)(30)

    def trim(self, topic: str, partition: int, before: int) -> None:
        self._broker.delete_records_before(topic, partition, before)

    def delete(self, topic: str) -> None:
        self._broker.delete_topic(topic)

    def recreate(self, topic: str) -> None:
        self._broker.delete_topic(topic)
        self._broker.create_topic(topic, PARTITIONS)

    def stop(self) -> None:
        self._broker.kill()

    def start(self) -> None:
        self._broker.start()
