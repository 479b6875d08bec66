"""A broker for demos and quick tests, without installing one."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import confluent_kafka as ck

from stream.kafka.client import Setting, make_client

ANSWER_TIMEOUT_S = 10.0
END_TIMEOUT_S = 10.0


class EmbeddedCluster:
    """A broker for demos and quick tests: librdkafka's own, over real TCP.

    Its topics have four partitions, of each of which it keeps the latest 5 MiB in memory, and it
    ends with this object. It has a process of its own because librdkafka (2.16) may abort the one in
    which it destroys a cluster: it locks a mutex that it has freed.
    """

    def __init__(self, topics: Sequence[str] = ()) -> None:
        # By path and not by name, so that it starts without importing the rest of the package; in a
        # session of its own, so that Ctrl-C reaches it only through us.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("embedded_host.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.bootstrap = self._process.stdout.readline().strip()
        try:
            if not self.bootstrap:
                raise RuntimeError("the embedded cluster did not start; its error is above")
            self.create_topics(topics)
        except BaseException:
            self.close()
            raise

    @property
    def process_id(self) -> int:
        """Of the process that holds the cluster."""
        return self._process.pid

    @property
    def settings(self) -> dict[str, Setting]:
        """The `[kafka]` table that reaches the cluster.

        It looks for new records only when a waiting fetch times out, so that decides the latency.
        """
        return {"bootstrap.servers": self.bootstrap, "fetch.wait.max.ms": 10}

    def create_topics(self, topics: Sequence[str]) -> None:
        """Create topics: this broker knows no CreateTopics, but makes what a producer asks about."""
        producer = make_client(ck.Producer, {"bootstrap.servers": self.bootstrap})
        for topic in topics:
            producer.list_topics(topic, timeout=ANSWER_TIMEOUT_S)

    def close(self) -> None:
        """End the cluster; its records are gone."""
        self._process.communicate(timeout=END_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
