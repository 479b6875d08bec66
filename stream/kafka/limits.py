"""Where partitions begin and end, open transactions included."""

from collections.abc import Mapping, Sequence

import confluent_kafka as ck
from confluent_kafka import admin

from state.store import TopicPartition
from stream.kafka.client import Setting, client_settings, make_client


def ask_limits(
    kafka: Mapping[str, Setting], partitions: Sequence[TopicPartition], wait_s: float
) -> dict[TopicPartition, tuple[int, int]]:
    """(first offset kept, next offset to be written) of each partition, asked of the brokers.

    A consumer that reads only what is committed is told an earlier end: where the first open transaction
    begins.

    Raises KafkaException if one of them is not told in time.
    """
    client = make_client(admin.AdminClient, client_settings(kafka, {}, {}))
    specs = admin.OffsetSpec  # type: ignore[attr-defined]
    firsts, ends = (
        client.list_offsets(
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
