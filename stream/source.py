"""The seam between the learner and the log: where records come from and where outgoing ones go.

`stream.kafka` speaks to a broker; `tests/support/memory_log.py` is the in-memory twin, and
`tests/contract/test_source.py` holds both to the same behaviour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from state.errors import LogChangedError, OffsetAheadError, OffsetExpiredError
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
class LogIdentity:
    """Which log offsets are of: the id of the cluster, "" if unknown, and the known ids of topics."""

    cluster: str = ""
    topics: Mapping[str, str] = field(default_factory=dict)

    def pack(self) -> bytes:
        """For the memo `state.store.LOG_MEMO`."""
        return orjson.dumps({"cluster": self.cluster, "topics": dict(sorted(self.topics.items()))})

    @classmethod
    def restore(cls, packed: bytes) -> "LogIdentity":
        """Inverse of `pack`; nothing is known where nothing is stored."""
        return cls(**orjson.loads(packed)) if packed else cls()

    def updated(self, found: "LogIdentity") -> "LogIdentity":
        """The same with what was found; what is not known of that stays."""
        return LogIdentity(found.cluster or self.cluster, {**self.topics, **found.topics})

    def changes(self, found: "LogIdentity") -> dict[str, str]:
        """What is another in `found`: topics, or "" for the whole cluster, each with both ids in words.

        A mirror of a cluster keeps the names of topics and has other offsets. What is not known is the same.
        """
        changed = {
            topic: f"topic {topic} was deleted and created anew "
            f"(its id was {known}, now {found.topics[topic]})"
            for topic, known in self.topics.items()
            if found.topics.get(topic, known) != known
        }
        if self.cluster and found.cluster and self.cluster != found.cluster:
            changed[""] = f"this is another cluster (its id was {self.cluster}, now {found.cluster})"
        return changed

    def require_same(self, found: "LogIdentity") -> None:
        """Raises LogChangedError if the offsets of this log mean nothing in the other."""
        changed = self.changes(found)
        if changed:
            raise LogChangedError(
                f"the log is not the one that the state was learnt from: {'; '.join(changed.values())}. "
                'Correct [kafka] "bootstrap.servers", or learn it into a new `state.directory`, or add it to '
                "what is learnt: start once with --accept-topic, which reads from its start"
            )


@dataclass(frozen=True, slots=True)
class Held:
    """What an open transaction keeps from being read, offset `first` up to `end`, since a time of the
    monotonic clock."""

    first: int
    end: int
    since_s: float

    def describe(self, where: TopicPartition, now_s: float) -> str:
        """In words for an operator."""
        seconds = now_s - self.since_s
        return (
            f"topic {where.topic} partition {where.partition}: an open transaction holds back the records "
            f"from offset {self.first} up to {self.end}, for {seconds:.0f} s by now: its producer must "
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

    def identity(self) -> LogIdentity:
        """Which log this is, asked of the broker; once asked, another one is an error of `poll`."""
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
