"""The seam between the learner and the log: where records come from and where outgoing ones go.

`stream.kafka` speaks to a broker; `tests/support/memory_log.py` is the in-memory twin, and
`tests/contract/test_source.py` holds both to the same behaviour.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from state.store import OutboxRecord, TopicPartition
from stream.events import Records


class Source(Protocol):
    """All partitions of some topics, read from explicit positions without a group."""

    def partitions(self) -> Sequence[TopicPartition]:
        """Every partition of the topics that exists now, sorted."""
        ...

    def limits(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """(first offset kept, next offset to be written) of each partition, asked of the broker."""
        ...

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, and only these, from these offsets on."""
        ...

    def poll(self, records_max: int, timeout_ms: int) -> Sequence[Records]:
        """What has arrived, waiting at most `timeout_ms` for the first: one `Records` per topic, each
        ordered by partition and offset; never more than `records_max` records in all."""
        ...

    def caught_up(self) -> Mapping[TopicPartition, bool]:
        """Whether everything the broker is known to hold of a partition has been polled; no waiting."""
        ...

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Tell lag tools where the state stands; never waits, never fails, never read back."""
        ...

    def problem(self) -> str | None:
        """What keeps records from arriving, in words for an operator; None when nothing does."""
        ...

    def close(self) -> None:
        """Let go of sockets and threads."""
        ...


class Sink(Protocol):
    """Delivers outbox records at least once."""

    def send(self, record_id: int, record: OutboxRecord) -> bool:
        """Hand a record over; False when the queue is full and the caller should come back later."""
        ...

    def poll(self) -> Sequence[int]:
        """Ids that a broker has acknowledged since the last call; failed sends are retried by themselves."""
        ...

    def flush(self, timeout_ms: int) -> Sequence[int]:
        """Wait for acknowledgements, at most this long, and return their ids."""
        ...

    def close(self) -> None:
        """Let go of sockets and threads; what was not acknowledged stays in the outbox."""
        ...
