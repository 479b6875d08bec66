"""Topics of one campaign: what is published, and what stands in them."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import crash_stream
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from crash_process import wait_for
from crash_stream import Made

NUMBER_HEADER = "number"
READ_DEADLINE_POLLS = 3_000
POLL_S = 0.01
NOT_YET = frozenset({KafkaError._UNKNOWN_PARTITION, KafkaError.NOT_LEADER_FOR_PARTITION})
PATIENCE_S = 240.0
"""Until a broker has answered, whatever else the machine does."""


@dataclass(frozen=True)
class Stored:
    """A record as it stands in a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]


class TopicReader:
    """Everything in a topic, read on from where the last call ended."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "crash-tests",
                "enable.auto.commit": False,
                "log_level": 0,
                # A question about the ends waits for the answer to a fetch.
                "fetch.wait.max.ms": 10,
            }
        )
        self._topic = topic
        # A broker knows a topic a moment before it knows the partitions.
        found = wait_for(
            lambda: self._consumer.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions,
            f"the partitions of {topic}",
        )
        self.next = dict.fromkeys(sorted(found), 0)
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in found])

    def ends(self) -> dict[int, int]:
        """The next offset to be written in each partition."""
        return {partition: self._end(partition) for partition in self.next}

    def _end(self, partition: int) -> int:
        [end] = wait_for(lambda: self._asked_end(partition), f"partition {partition} of {self._topic}")
        return end

    def _asked_end(self, partition: int) -> list[int]:
        """The end, or nothing from a broker that has just started and does not lead the partition yet."""
        try:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), PATIENCE_S)
        except KafkaException as error:
            if error.args[0].code() not in NOT_YET:
                raise
            return []
        return [int(end)]

    def read(self, ends: Mapping[int, int] | None = None) -> list[Stored]:
        """What follows, at least up to `ends` (by default up to the present ends)."""
        wanted = self.ends() if ends is None else ends
        found: list[Stored] = []
        for _ in range(READ_DEADLINE_POLLS):
            if all(self.next[partition] >= end for partition, end in wanted.items()):
                return found
            for message in self._consumer.consume(1_000, POLL_S):
                assert message.error() is None, message.error()
                partition, offset = message.partition(), message.offset()
                headers = dict(message.headers() or ())
                found.append(Stored(partition, offset, message.key(), message.value(), headers))
                self.next[partition] = offset + 1
        raise AssertionError(f"{self._topic} could not be read up to {wanted}: {self.next}")

    def close(self) -> None:
        """Let go of sockets."""
        self._consumer.close()


class Publisher(threading.Thread):
    """Publishes a seeded stream at a steady pace until told to stop, and now and then a command."""

    PORTION, PAUSE_S, PORTIONS_PER_COMMAND = 20, 0.04, 40

    def __init__(self, bootstrap: str, topic: str, control: str, model: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "linger.ms": 2,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "log_level": 0,
            }
        )
        self._topic, self._control, self._model = topic, control, model
        self._records: Iterator[Made] = crash_stream.records(seed)
        self._done = threading.Event()
        self.made: list[Made] = []
        self.commands = 0

    def run(self) -> None:
        """Publish."""
        portions = 0
        while not self._done.wait(self.PAUSE_S):
            self.publish(self.PORTION)
            portions += 1
            # Frozen for a tenth of the time.
            if portions % self.PORTIONS_PER_COMMAND in (0, self.PORTIONS_PER_COMMAND // 10):
                self._command()
        if self.commands % 2:
            self._command()
        assert self._producer.flush(PATIENCE_S) == 0

    def publish(self, count: int) -> None:
        """The next records of the stream."""
        for _ in range(count):
            made = next(self._records)
            headers = [(NUMBER_HEADER, str(len(self.made)).encode())]
            self.made.append(made)
            self._producer.produce(self._topic, made.value, made.key, headers=headers)
        self._producer.poll(0)

    def stop(self) -> None:
        """Publish no more; everything published is in the log."""
        self._done.set()
        if self.ident is not None:
            self.join(PATIENCE_S)
            assert not self.is_alive()
        assert self._producer.flush(PATIENCE_S) == 0

    def _command(self) -> None:
        made = crash_stream.command(self.commands, self._model)
        self._producer.produce(self._control, made.value, made.key)
        self.commands += 1


def number_of(record: Stored) -> int:
    """Which record of the stream this is."""
    return int(record.headers[NUMBER_HEADER])


def coordinates(letter: Stored) -> tuple[int, int]:
    """Source partition and offset of a dead letter."""
    return int(letter.headers["source-partition"]), int(letter.headers["source-offset"])


def values_of(letters: Sequence[Stored]) -> dict[tuple[int, int], set[tuple[bytes | None, bytes | None]]]:
    """By source coordinates, the different keys and values of dead letters."""
    found: dict[tuple[int, int], set[tuple[bytes | None, bytes | None]]] = {}
    for letter in letters:
        found.setdefault(coordinates(letter), set()).add((letter.key, letter.value))
    return found
