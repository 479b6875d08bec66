"""Reading part of the log once, outside of learning: patient with a broker that is away, but not for ever."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from state.errors import BrokerUnreachableError, StoreCorruptError
from state.store import TopicPartition
from stream.events import Records, by_partition, concatenate
from stream.source import Source

POLL_RECORDS = 10_000
POLL_MS = 200
SILENT_POLLS = 150
"""Polls in a row without a record after which no more are expected, 30 s."""


def polls(source: Source, wanted: Callable[[], str] | None = None) -> Iterator[Sequence[Records]]:
    """What each poll brings, without end; it may be nothing.

    With `wanted`, which says in words what is still to come, a long silence raises BrokerUnreachableError.
    """
    silent = 0
    while True:
        polled = source.poll(POLL_RECORDS, POLL_MS)
        yield polled
        silent = 0 if polled else silent + 1
        if wanted is not None and silent == SILENT_POLLS:
            raise BrokerUnreachableError(
                f"no record arrived for {SILENT_POLLS * POLL_MS // 1000} s, and {wanted()}: "
                f"{source.problem() or 'the broker is silent, or it has expired meanwhile'}"
            )


def scan(source: Source, latest: int | None = None) -> Iterator[Records]:
    """Records of every partition of the source's topics, up to the ends at the start of the call, as far as
    no open transaction holds them back; of each partition only the `latest` offsets, if it is said.

    Raises BrokerUnreachableError when nothing arrives for a long time although more is there.
    """
    limits = source.limits(source.partitions())
    source.assign(
        {
            partition: low if latest is None else max(low, high - latest)
            for partition, (low, high) in limits.items()
        }
    )
    ends = {partition: high for partition, (low, high) in limits.items() if high > low}
    polling = polls(source, lambda: f"{min(ends).topic} has more")
    while not ends.keys() <= _read(source):
        for records in next(polling):
            yield records
            for partition, part in by_partition(records):
                if int(part.offsets[-1]) + 1 >= ends.get(partition, np.inf):
                    del ends[partition]


def _read(source: Source) -> set[TopicPartition]:
    """Partitions of which nothing more can be read now."""
    return {where for where, caught_up in source.caught_up().items() if caught_up} | source.held().keys()


class Portions:
    """The log from some positions on, in exactly the portions that are asked for."""

    def __init__(self, source: Source, positions: Mapping[TopicPartition, int]) -> None:
        self._source = source
        self._pending: dict[TopicPartition, list[Records]] = {partition: [] for partition in positions}
        source.assign(positions)

    def take(self, ranges: Sequence[tuple[str, int, int, int]]) -> list[Records]:
        """The records of (topic, partition, first offset, next offset) ranges, one `Records` per topic.

        Raises StoreCorruptError if a first record is not in the log, BrokerUnreachableError if a last one
        does not come.
        """
        topics: dict[str, list[Records]] = {}
        for topic, partition, first, following in sorted(ranges):
            block = self._take(TopicPartition(topic, partition), following)
            if not len(block) or int(block.offsets[0]) != first:
                raise StoreCorruptError(
                    f"{topic} [{partition}] has no record at offset {first}, where the schedule says one was "
                    "learnt: the log was changed or compacted; it cannot be learnt from again"
                )
            topics.setdefault(topic, []).append(block)
        return [concatenate(blocks) for blocks in topics.values()]

    def _take(self, partition: TopicPartition, following: int) -> Records:
        """What is pending of a partition below offset `following`, polling until the last record is there."""
        pending = self._pending[partition]
        wanted = f"{partition.topic} [{partition.partition}] should have offset {following - 1}"
        polling = polls(self._source, lambda: wanted)
        while not pending or int(pending[-1].offsets[-1]) < following - 1:
            for records in next(polling):
                for found, block in by_partition(records):
                    self._pending[found].append(block)
        whole = concatenate(pending)
        cut = int(np.searchsorted(whole.offsets, following))
        self._pending[partition] = [whole[cut:]] if cut < len(whole) else []
        return whole[:cut]
