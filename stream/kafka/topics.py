"""The topics of ours: how they should be, making them, checking them."""

from collections.abc import Mapping
from dataclasses import dataclass

import confluent_kafka as ck
from confluent_kafka import admin

from stream.config import TopicsConfig
from stream.kafka.client import REQUEST_TIMEOUT_MS, Setting, code_of, named_error, servers_of
from stream.kafka.inquiry import Inquiry

# A dead letter carries the original bytes and our headers, so its topic takes more than the original's.
DLQ_BYTES_MAX = 2 << 20


@dataclass(frozen=True, slots=True)
class _TopicPlan:
    """How a topic of ours should be."""

    name: str
    partitions: int
    config: Mapping[str, str]


def _plans(topics: TopicsConfig) -> tuple[_TopicPlan, ...]:
    retention = {"retention.ms": str(topics.retention_ms)}
    return (
        _TopicPlan(topics.interactions, topics.partitions, retention),
        _TopicPlan(topics.dlq, topics.partitions, {**retention, "max.message.bytes": str(DLQ_BYTES_MAX)}),
        _TopicPlan(topics.items, topics.partitions, {"cleanup.policy": "compact"}),
        # Commands are few, and a replay of the log needs all of them.
        _TopicPlan(topics.control, 1, {"retention.ms": "-1"}),
        _TopicPlan(topics.drift, 1, {}),
    )


class _Admin:
    """Requests about topics, each waiting a bounded time, of a broker that answers now."""

    def __init__(self, kafka: Mapping[str, Setting], timeout_ms: int) -> None:
        self._servers = servers_of(kafka)
        self._timeout_s = timeout_ms / 1_000
        inquiry = Inquiry(kafka)
        inquiry.require_broker()
        self._client = inquiry.client

    def partitions(self) -> dict[str, int]:
        """Number of partitions of every topic there is."""
        try:
            topics = self._client.list_topics(timeout=self._timeout_s).topics
        except ck.KafkaException as error:
            raise named_error(error, "listing topics", self._servers) from error
        return {name: len(topic.partitions) for name, topic in topics.items()}

    def create(self, plan: _TopicPlan, replication: int) -> str:
        """`created`, or `exists` if someone else was faster."""
        topic = admin.NewTopic(  # type: ignore[attr-defined]
            plan.name,
            num_partitions=plan.partitions,
            replication_factor=replication,
            config=dict(plan.config),
        )
        done = self._client.create_topics(
            [topic], operation_timeout=self._timeout_s, request_timeout=self._timeout_s
        )
        try:
            done[plan.name].result()
        except ck.KafkaException as error:
            if code_of(error) == ck.KafkaError.TOPIC_ALREADY_EXISTS:
                return "exists"
            raise named_error(error, f"creating topic {plan.name}", self._servers) from error
        return "created"

    def settings(self, topic: str) -> dict[str, str]:
        """The topic's settings as the broker applies them, as far as it says."""
        kind = admin.ConfigResource  # type: ignore[attr-defined]
        resource = kind(kind.Type.TOPIC, topic)
        asked = self._client.describe_configs([resource], request_timeout=self._timeout_s)
        try:
            entries = asked[resource].result()
        except ck.KafkaException as error:
            raise named_error(error, f"settings of topic {topic}", self._servers) from error
        return {name: str(entry.value) for name, entry in entries.items() if entry.value is not None}


def create_topics(
    kafka: Mapping[str, Setting], topics: TopicsConfig, timeout_ms: int = REQUEST_TIMEOUT_MS
) -> list[tuple[str, str]]:
    """Create the topics that do not exist; (topic, "created" or "exists") of each.

    Raises:
        BrokerUnreachableError: no broker answered in time.
        SourceError: the broker refused.
    """
    broker = _Admin(kafka, timeout_ms)
    there = broker.partitions()
    return [
        (plan.name, "exists" if plan.name in there else broker.create(plan, topics.replication))
        for plan in _plans(topics)
    ]


def check_topics(
    kafka: Mapping[str, Setting], topics: TopicsConfig, timeout_ms: int = REQUEST_TIMEOUT_MS
) -> list[str]:
    """What is wrong with the topics, a sentence each; empty when nothing is.

    Raises:
        BrokerUnreachableError: no broker answered in time.
        SourceError: the broker refused to show the topics' settings.
    """
    broker = _Admin(kafka, timeout_ms)
    partitions = broker.partitions()
    plans = _plans(topics)
    missing = [plan.name for plan in plans if plan.name not in partitions]
    settings = {plan.name: broker.settings(plan.name) for plan in plans if plan.name in partitions}
    findings = [f"topic {name} does not exist: run `livefactor topics create`" for name in missing]
    if partitions.get(topics.control, 1) != 1:
        findings.append(
            f"topic {topics.control} has {partitions[topics.control]} partitions: commands need one order, "
            "so delete it and run `livefactor topics create`"
        )
    return findings + setting_findings(topics, settings)


def setting_findings(topics: TopicsConfig, settings: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is wrong with the settings of the topics that exist."""
    findings = []

    def said(topic: str, name: str, wanted: str) -> str | None:
        """A setting of a topic that exists; some brokers leave settings out."""
        value = settings.get(topic, {}).get(name)
        if value is None and topic in settings:
            findings.append(
                f"the broker does not say {name} of topic {topic}: make sure, where the broker is managed, "
                f"that it is {wanted}"
            )
        return value

    policy_of_items = said(topics.items, "cleanup.policy", "compact")
    if policy_of_items is not None and "compact" not in policy_of_items:
        findings.append(
            f"topic {topics.items} is not compacted, so items will be forgotten: "
            "set its cleanup.policy to compact"
        )
    policy = said(topics.interactions, "cleanup.policy", "delete")
    if policy is not None and "compact" in policy:
        findings.append(
            f"topic {topics.interactions} is compacted, so all but a user's last event are forgotten: "
            "set its cleanup.policy to delete"
        )
    kept_ms = said(topics.interactions, "retention.ms", f"at least {topics.retention_ms}")
    if kept_ms is not None and 0 <= int(kept_ms) < topics.retention_ms:
        findings.append(
            f"topic {topics.interactions} keeps records for {kept_ms} ms, less than "
            f"topics.retention_ms = {topics.retention_ms}: a learner that is down for longer loses events"
        )
    largest = said(topics.interactions, "max.message.bytes", "what your largest record needs")
    largest_letter = said(topics.dlq, "max.message.bytes", f"more than that of {topics.interactions}")
    if largest and largest_letter and int(largest_letter) <= int(largest):
        findings.append(
            f"topic {topics.dlq} takes records of {largest_letter} bytes, no more than "
            f"{topics.interactions}: a large bad record with its headers would not fit; "
            "raise its max.message.bytes"
        )
    return findings
