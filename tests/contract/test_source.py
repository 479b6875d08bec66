"""Source and sink behave alike over a log in memory and over librdkafka's embedded cluster.

`tests/broker/test_kafka.py` runs the same checks against a real broker.
"""

from collections.abc import Callable, Iterator

import pytest
from source_checks import CHECKS, OUTAGE_CHECKS, RETENTION_CHECKS, TRANSACTION_CHECKS, Ground
from source_grounds import EmbeddedGround, MemoryGround

from stream.kafka import EmbeddedCluster


def name(check: Callable[..., None]) -> str:
    return check.__name__.removeprefix("check_")


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedGround]:
    with EmbeddedCluster() as cluster:
        yield EmbeddedGround(cluster)


@pytest.mark.parametrize("check", CHECKS + RETENTION_CHECKS + TRANSACTION_CHECKS + OUTAGE_CHECKS, ids=name)
def test_memory(check: Callable[[MemoryGround], None]) -> None:
    check(MemoryGround())


@pytest.mark.parametrize("check", CHECKS, ids=name)
def test_embedded_cluster(check: Callable[[Ground], None], embedded: EmbeddedGround) -> None:
    check(embedded)
