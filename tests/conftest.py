"""One real Apache Kafka broker for all tests that need one; and how the processes they start end."""

import os
import signal
from collections.abc import Iterator

import pytest
from janitor import clean_up_after_this_process
from kafka_broker import KafkaBroker, skip_without_java

pytest.register_assert_rewrite("crash_campaign", "source_checks", "source_grounds", "store_checks")

# A run in the background of a shell script ignores Ctrl-C, and so would every process the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
clean_up_after_this_process()
# A process that C aborts says then where its Python was.
os.environ["PYTHONFAULTHANDLER"] = "1"


@pytest.fixture(scope="session")
def broker() -> Iterator[KafkaBroker]:
    """A running broker; tests that stop it must leave it running."""
    skip_without_java()
    with KafkaBroker() as running:
        yield running
