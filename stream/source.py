"""The seam between the learner and the log: where records come from and where outgoing ones go.

`stream.kafka` speaks to a broker; `tests/support/memory_log.py` is the in-memory twin, and
`tests/contract/test_source.py` holds both to the same behaviour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from state.errors import OffsetAheadError, OffsetExpiredError
from state.store import OutboxRecord, TopicPartition
from stream.events import Records


def require_offset_in_log(where: TopicPartition, offset: int, limits: tuple[int, int]) -> None:
    """Accept an offset from which reading can go on; `limits` as `Source.limits` gives them.

    Raises:
        OffsetExpiredError: records between `offset` and the log's start were deleted before they were learnt.
        OffsetAheadError: the log ends before `offset`, so it is not the log that was learnt from.
    """
    first, end = limits
    at = f"topic {where.topic} partition {where.partition}: the state stands at offset {offset}"
    if offset < first:
        raise OffsetExpiredError(
            f"{at}, but the log starts at {first}: {first - offset} records were deleted before they were "
            "learnt. Relearn what is left in a new state directory, and raise the topic's retention.ms"
        )
    if offset > end:
        raise OffsetAheadError(
            f"{at}, but the log ends at {end}: the topic was recreated or truncated, or this is another "
            'cluster. Correct [kafka] "bootstrap.servers", or relearn in a new state directory'
        )


@dataclass(frozen=True, slots=True)
class Held:
    """What an open transaction has kept from being read for `seconds`: offset `first` up to `end`."""

    first: int
    end: int
    seconds: float

    def describe(self, where: TopicPartition) -> str:
        """In words for an operator."""
        return (
            f"topic {where.topic} partition {where.partition}: an open transaction holds back the records "
            f"from offset {self.first} up to {self.end}, for {self.seconds:.0f} s by now: its producer must "
            "commit or abort it, or the broker does after the producer's transaction.timeout.ms"
        )


class Source(Protocol):
    """All partitions of some topics, read from explicit positions without a group."""

    def partitions(self) -> Sequence[TopicPartition]:
        """Every partition of the topics that exists now, sorted."""
        ...

    def limits(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """(first offset kept, next offset to be written) of each partition, asked of the broker; records of
        transactions that are still open count."""
        ...

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, and only these, from these offsets on."""
        ...

    def poll(self, records_max: int, timeout_ms: int) -> Sequence[Records]:
        """What has arrived, waiting at most `timeout_ms` for the first: one `Records` per topic, each
        ordered by partition and offset; never more than `records_max` records in all."""
        ...

    def positions(self) -> Mapping[TopicPartition, int]:
        """Where reading goes on in each partition: what is before was polled, or is no record (the marker
        that ends a transaction, a record of one that was aborted)."""
        ...

    def held(self) -> Mapping[TopicPartition, Held]:
        """Partitions of which everything is read that an open transaction does not hold back; no waiting."""
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

    def problem(self) -> str | None:
        """What keeps records from being acknowledged, in words for an operator; None when nothing does."""
        ...

    def close(self) -> None:
        """Let go of sockets and threads; what was not acknowledged stays in the outbox."""
        ...
