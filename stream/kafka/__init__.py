"""The log as Apache Kafka keeps it: the only place that speaks to a broker.

librdkafka does the work; what is decided here is what exactly-once rests on. Positions come from
the state and never from the consumer group, so partitions are assigned by hand (a group
subscription waits for the session timeout after a SIGKILL) and an offset that is not in the log
is an error and never a silent reset. Group offsets are written for lag tools only.
"""

from stream.kafka.client import Setting
from stream.kafka.embedded import EmbeddedCluster
from stream.kafka.inquiry import require_broker
from stream.kafka.messages import UNREADABLE_HEADERS
from stream.kafka.publisher import KafkaPublisher
from stream.kafka.sink import KafkaSink
from stream.kafka.source import KafkaSource
from stream.kafka.topics import check_topics, create_topics

__all__ = [
    "UNREADABLE_HEADERS",
    "EmbeddedCluster",
    "KafkaPublisher",
    "KafkaSink",
    "KafkaSource",
    "Setting",
    "check_topics",
    "create_topics",
    "require_broker",
]
