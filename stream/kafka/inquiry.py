"""What a consumer cannot ask, or not at once: which log this is, and where it ends with all transactions."""

from collections.abc import Mapping, Sequence

import confluent_kafka as ck
from confluent_kafka import admin

from state.store import TopicPartition
from stream.kafka.client import Setting, client_settings, make_client
from stream.source import LogIdentity


class Inquiry:
    """Questions to the brokers, over a connection that is made for the first of them.

    A consumer's own wait behind its fetches, half a second and more.

    Raises KafkaException where there is no answer in time.
    """

    def __init__(self, kafka: Mapping[str, Setting]) -> None:
        self._kafka = kafka
        self._made: admin.AdminClient | None = None

    def limits(
        self, partitions: Sequence[TopicPartition], wait_s: float
    ) -> dict[TopicPartition, tuple[int, int]]:
        """(first offset kept, next offset to be written) of each partition.

        A consumer that reads only what is committed is told an earlier end: where the first open
        transaction begins.
        """
        specs = admin.OffsetSpec  # type: ignore[attr-defined]
        firsts, ends = (
            self.client.list_offsets(
                {ck.TopicPartition(*where): spec for where in partitions},
                isolation_level=ck.IsolationLevel.READ_UNCOMMITTED,
                request_timeout=wait_s,
            )
            for spec in (specs.earliest(), specs.latest())  # type: ignore[no-untyped-call]
        )
        return {
            where: (
                firsts[ck.TopicPartition(*where)].result().offset,
                ends[ck.TopicPartition(*where)].result().offset,
            )
            for where in partitions
        }

    def identity(self, topics: Sequence[str], wait_s: float) -> LogIdentity:
        """The ids of the cluster and of these topics, as far as the brokers know any."""
        metadata = self.client.list_topics(topics[0], timeout=wait_s)
        if metadata.controller_id not in metadata.brokers:
            return LogIdentity(metadata.cluster_id or "", {})
        asked = self.client.describe_topics(ck.TopicCollection(list(topics)), request_timeout=wait_s)
        ids = {topic: answer.result().topic_id for topic, answer in asked.items()}
        known = {topic: str(found) for topic, found in ids.items() if found.get_least_significant_bits()}
        return LogIdentity(metadata.cluster_id or "", known)

    def close(self) -> None:
        """Let go of sockets and threads."""
        self._made = None

    @property
    def client(self) -> admin.AdminClient:
        """What asks; it creates no topic by asking about it."""
        if self._made is None:
            settings = {**client_settings(self._kafka, {}, {}), "allow.auto.create.topics": False}
            self._made = make_client(admin.AdminClient, settings)
        return self._made
