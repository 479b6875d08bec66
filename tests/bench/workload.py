"""A stream of interactions in a real broker, and what reading it costs by itself.

Users are uniform (or each as often as the others), items follow Zipf's law with exponent 1, values are
ratings from 0.5 to 5: protobuf records of about 35 bytes with the user as key.
"""

import csv
import gzip
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from protos.events_pb2 import Interaction
from state.arrays import F64, I64

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from kafka_broker import KafkaBroker as KafkaBroker
from realdata import ROOT as DATA

CHUNK = 10_000
QUEUED_MAX = 200_000
PARTITIONS = 4
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Stream:
    """Who did what: users and items as numbers, ratings as float64; arrays of one length."""

    users: I64
    items: I64
    values: F64

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, part: slice) -> "Stream":
        return Stream(self.users[part], self.items[part], self.values[part])


def uniform(users: int, items: int, events: int, seed: int) -> Stream:
    """Every user as likely as any other at each event."""
    random = np.random.default_rng(seed)
    return _with_items(random.integers(users, size=events), items, random)


def in_turns(users: int, items: int, rounds: int, seed: int, first_user: int = 0) -> Stream:
    """Every user once a round, in another order each time."""
    random = np.random.default_rng(seed)
    orders = [random.permutation(users) + first_user for _ in range(rounds)]
    return _with_items(np.concatenate(orders), items, random)


def _with_items(users: I64, items: int, random: np.random.Generator) -> Stream:
    chosen = (items ** random.random(len(users))).astype(np.int64) - 1
    return Stream(users, chosen, random.integers(1, 11, len(users)) / 2)


def records(stream: Stream) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of each event."""
    for user, item, value in zip(
        stream.users.tolist(), stream.items.tolist(), stream.values.tolist(), strict=True
    ):
        name = f"u{user}"
        interaction = Interaction(user_id=name, item_id=f"i{item}", event_type="rate", value=value)
        yield name.encode(), interaction.SerializeToString()


def movielens(events: int) -> Stream | None:
    """Ratings in order of time; None where the data is not available."""
    path = Path(DATA) / "movielens-100k" / "events.csv.gz"
    if not path.exists():
        return None
    with gzip.open(path, "rt") as file:
        rows = [
            (int(row["user_id"]), int(row["item_id"]), float(row["value"])) for row in csv.DictReader(file)
        ]
    users, items, values = (np.array(column) for column in zip(*rows[:events], strict=True))
    return Stream(users, items, values)


def real_and_synthetic(users: int, items: int, events: int) -> dict[str, Stream]:
    """MovieLens 100K, at most so many events of it, where it is available; and a uniform stream."""
    real = movielens(events)
    if real is None:
        print("MovieLens is left out: set LIVEFACTOR_TEST_DATA to the folder with it", file=sys.stderr)
    synthetic = {f"{events:,} synthetic events": uniform(users, items, events, seed=1)}
    return synthetic if real is None else {"MovieLens 100K": real, **synthetic}


def fill(bootstrap: str, topic: str, stream: Stream) -> float:
    """Publish a stream as fast as it goes; seconds it took until everything was acknowledged."""
    return publish(bootstrap, topic, records(stream))


def publish(bootstrap: str, topic: str, keyed: Iterator[tuple[bytes, bytes]]) -> float:
    """Publish (key, value) of each record; seconds it took until everything was acknowledged."""
    start_s = time.perf_counter()
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 50,
            "queue.buffering.max.messages": 2 * QUEUED_MAX,
        }
    )
    while batch := [{"key": key, "value": value} for key, value in islice(keyed, CHUNK)]:
        if producer.produce_batch(topic, batch) != len(batch):
            raise RuntimeError("the producer's queue is full")
        while len(producer) > QUEUED_MAX:
            producer.poll(0.01)
    if producer.flush(PATIENCE_S):
        raise RuntimeError("the broker did not acknowledge every record")
    return time.perf_counter() - start_s


@dataclass(frozen=True, slots=True)
class Speed:
    """Events per second of the clock, and processor time for each."""

    events_per_s: float
    cpu_us: float

    def detail(self) -> dict[str, float]:
        return {"events_per_s": round(self.events_per_s), "cpu_us_per_event": round(self.cpu_us, 3)}


def bare_consumption(bootstrap: str, topic: str, events: int, partitions: int = PARTITIONS) -> Speed:
    """Read a topic with `consume(10000)` and throw it away; timed from the first records' arrival.

    With librdkafka's default `fetch.queue.backoff.ms` of 1000 a consumer this fast pauses for most of every
    second, at a quarter of the speed; the learner's consumer has 10, and so has this one.
    """
    settings = {"group.id": "bare", "enable.auto.commit": False, "fetch.queue.backoff.ms": 10}
    consumer = Consumer({"bootstrap.servers": bootstrap, **settings})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    first = seen = _consume(consumer, events)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    while seen < events:
        seen += _consume(consumer, events - seen)
    elapsed_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    consumer.close()
    return Speed((seen - first) / elapsed_s, cpu_s / (seen - first) * 1e6)


def _consume(consumer: Consumer, left: int) -> int:
    """How many messages arrived; one call for at most 10,000."""
    count = len(consumer.consume(min(10_000, left), PATIENCE_S))
    if not count:
        raise RuntimeError(f"nothing arrived for {PATIENCE_S} s")
    return count


def load_average() -> list[float]:
    """Processes that wanted to run, over 1 and 5 minutes: figures from a busy machine say little."""
    return [round(load, 1) for load in os.getloadavg()[:2]]
