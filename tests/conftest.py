"""One real Apache Kafka broker for all tests that need one."""

from collections.abc import Iterator

import pytest
from kafka_broker import KafkaBroker, java_available

pytest.register_assert_rewrite("crash_campaign")


@pytest.fixture(scope="session")
def broker() -> Iterator[KafkaBroker]:
    """A running broker; tests that stop it must leave it running."""
    if not java_available():
        pytest.skip("NO REAL KAFKA BROKER: `java` (17 or later) and `mvn` are needed to run these tests")
    with KafkaBroker() as running:
        yield running
