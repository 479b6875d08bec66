"""librdkafka's messages as values: columns of many, the place of one."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import confluent_kafka as ck
import numpy as np

from state.store import TopicPartition
from stream.events import Records

Headers = Sequence[tuple[str, bytes]]

UNREADABLE_HEADERS: Headers = (("livefactor-unreadable-headers", b""),)


def place(message: ck.Message) -> tuple[TopicPartition, int]:
    """Partition and offset of a message that came from or went to a broker."""
    topic: Any = message.topic()
    partition: Any = message.partition()
    offset: Any = message.offset()
    return TopicPartition(topic, partition), offset


def columns(topic: str, messages: list[ck.Message]) -> Records:
    """Columns of n >= 1 messages of one topic that carry no errors, ordered by partition and offset.

    Within a partition the log's order is the order of arrival, so a stable sort by partition is enough.
    """
    count = len(messages)
    partitions = np.fromiter(map(ck.Message.partition, messages), np.int32, count)
    if (partitions[1:] < partitions[:-1]).any():
        order = np.argsort(partitions, kind="stable")
        partitions = partitions[order]
        messages = list(map(messages.__getitem__, order.tolist()))
    return Records(
        topic=topic,
        values=list(map(ck.Message.value, messages)),
        keys=list(map(ck.Message.key, messages)),
        headers=_headers(messages),
        partitions=partitions,
        offsets=np.fromiter(map(ck.Message.offset, messages), np.int64, count),
        timestamps_ms=np.fromiter(map(itemgetter(1), map(ck.Message.timestamp, messages)), np.int64, count),
    )


def _headers(messages: list[ck.Message]) -> list[Headers | None]:
    """Headers of each message: null values as empty ones, names that are no UTF-8 as one marker."""
    headers: list[Any] = []
    unread = map(ck.Message.headers, messages)
    while len(headers) < len(messages):
        try:
            headers.extend(unread)
        except (SystemError, UnicodeDecodeError):
            # The client cannot show these, and must not be asked a second time.
            headers.append(UNREADABLE_HEADERS)
    if headers.count(None) == len(headers):
        return headers
    return [pairs and [(name, value or b"") for name, value in pairs] for pairs in headers]
