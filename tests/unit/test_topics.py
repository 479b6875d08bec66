"""What is said of topics as brokers describe them: Event Hubs, Redpanda and others leave settings out."""

import pytest

from stream.config import TopicsConfig
from stream.kafka.topics import setting_findings

TOPICS = TopicsConfig()
GOOD = {
    TOPICS.items: {"cleanup.policy": "compact"},
    TOPICS.interactions: {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "max.message.bytes": "1000000",
    },
    TOPICS.dlq: {"cleanup.policy": "delete", "max.message.bytes": "2000000"},
}


def test_topics_as_they_should_be():
    assert setting_findings(TOPICS, GOOD) == []
    assert setting_findings(TOPICS, {}) == []


@pytest.mark.parametrize(
    ("topic", "name"), [(topic, name) for topic, settings in GOOD.items() for name in settings]
)
def test_a_setting_that_the_broker_does_not_tell_is_a_finding(topic, name):
    left = {other: value for other, value in GOOD[topic].items() if other != name}
    findings = setting_findings(TOPICS, {**GOOD, topic: left})
    if (topic, name) == (TOPICS.dlq, "cleanup.policy"):
        assert findings == []
    else:
        (finding,) = findings
        assert f"the broker does not say {name} of topic {topic}" in finding


def test_a_broker_that_tells_nothing():
    findings = setting_findings(TOPICS, {topic: {} for topic in GOOD})
    assert len(findings) == 5
    assert all("does not say" in finding for finding in findings)
