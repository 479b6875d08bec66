"""A broker for demos and quick tests, inside the process."""

from collections.abc import Sequence
from typing import Self

import confluent_kafka as ck

from stream.kafka.client import Setting, make_client

ANSWER_TIMEOUT_S = 10.0


class EmbeddedCluster:
    """A broker inside this process for demos and quick tests: librdkafka's own, over real TCP.

    Its topics have four partitions, of each of which it keeps the latest 5 MiB in memory, and it
    ends with this object.
    """

    def __init__(self, topics: Sequence[str] = ()) -> None:
        settings = {"test.mock.num.brokers": 1, "bootstrap.servers": "replaced"}
        self._host: ck.Producer | None = make_client(ck.Producer, settings)
        brokers = self._host.list_topics(timeout=ANSWER_TIMEOUT_S).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self.create_topics(topics)

    @property
    def settings(self) -> dict[str, Setting]:
        """The `[kafka]` table that reaches the cluster.

        It looks for new records only when a waiting fetch times out, so that decides the latency.
        """
        return {"bootstrap.servers": self.bootstrap, "fetch.wait.max.ms": 10}

    def create_topics(self, topics: Sequence[str]) -> None:
        """Create topics: this broker knows no CreateTopics, but makes what a producer asks about."""
        if self._host is None:
            raise RuntimeError("the embedded cluster is closed")
        for topic in topics:
            self._host.list_topics(topic, timeout=ANSWER_TIMEOUT_S)

    def close(self) -> None:
        """End the cluster; its records are gone."""
        self._host = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
