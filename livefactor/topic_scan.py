"""Reading a whole topic once, from its start to the end it has now."""

import time
from collections.abc import Iterator

from state.errors import BrokerUnreachableError
from state.store import TopicPartition
from stream.events import Records
from stream.source import Source

POLL_RECORDS = 10_000
POLL_MS = 200
SILENCE_MAX_S = 30.0


def scan(source: Source) -> Iterator[Records]:
    """Records of every partition of the source's topics, up to the ends at the start of the call.

    Raises BrokerUnreachableError when nothing arrives for a long time although more is there.
    """
    limits = source.limits(source.partitions())
    source.assign({partition: low for partition, (low, _) in limits.items()})
    ends = {partition: high for partition, (low, high) in limits.items() if high > low}
    heard_s = time.monotonic()
    while ends:
        for records in source.poll(POLL_RECORDS, POLL_MS):
            heard_s = time.monotonic()
            yield records
            _drop_finished(ends, records)
        caught_up = source.caught_up()
        if all(caught_up.get(partition, False) for partition in ends):
            return
        if time.monotonic() - heard_s > SILENCE_MAX_S:
            raise BrokerUnreachableError(
                f"{min(ends).topic} gave no record for {SILENCE_MAX_S:.0f} s although it has more: "
                f"{source.problem() or 'the broker is silent'}"
            )


def _drop_finished(ends: dict[TopicPartition, int], records: Records) -> None:
    """Forget partitions that these records bring to their end."""
    for partition, offset in zip(records.partitions.tolist(), records.offsets.tolist(), strict=True):
        found = TopicPartition(records.topic, partition)
        if found in ends and offset + 1 >= ends[found]:
            del ends[found]
