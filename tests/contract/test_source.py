"""Source and sink behave alike over a log in memory and over librdkafka's embedded cluster.

`tests/broker/test_kafka.py` runs the same checks against a real broker.
"""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from source_checks import (
    CHECKS,
    OUTAGE_CHECKS,
    RETENTION_CHECKS,
    TRANSACTION_CHECKS,
    Ground,
    eventually,
)
from source_grounds import EmbeddedGround, MemoryGround

from state.store import TopicPartition
from stream.kafka import EmbeddedCluster, KafkaSource


def name(check: Callable[..., None]) -> str:
    return check.__name__.removeprefix("check_")


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedGround]:
    with EmbeddedCluster() as cluster:
        yield EmbeddedGround(cluster)


@pytest.mark.parametrize("check", CHECKS + RETENTION_CHECKS + TRANSACTION_CHECKS + OUTAGE_CHECKS, ids=name)
def test_memory(check: Callable[[MemoryGround], None]) -> None:
    check(MemoryGround())


def test_statistics_arrive_whatever_a_shared_file_of_settings_says(embedded: EmbeddedGround) -> None:
    """Without them a problem would never end, nor an open transaction be seen."""
    topic = embedded.topic()
    settings = {**embedded.settings, "statistics.interval.ms": 0}
    with closing(KafkaSource(settings, "statistics", [topic])) as source:
        source.assign({TopicPartition(topic, 0): 0})
        source._health.connection = "a blip"
        eventually(lambda: not source.poll(1, 100) and source.problem() is None, "the end of a problem")


@pytest.mark.parametrize("check", CHECKS, ids=name)
def test_embedded_cluster(check: Callable[[Ground], None], embedded: EmbeddedGround) -> None:
    check(embedded)
