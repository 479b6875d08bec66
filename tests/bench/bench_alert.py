"""From the event that proves a fault to the alarm at its subscribers: Watch, topic and webhook.

    python tests/bench/bench_alert.py --rounds 3

A real broker; learner and scorer are processes of their own, with default settings but for the sample, which
is every event. Events of 300 users come at a steady rate, and from some moment on with the items of others.
Timed from the timestamp of the last event in the window that raised the alarm (which the alarm names) to its
arrival at each of three subscribers, so that waiting for a micro-batch, learning and committing are in it.
"""

import argparse
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import numpy as np
import orjson
from confluent_kafka import Consumer, Producer
from processes import Service, answered, service, warm_up
from streams import likes_by_taste
from webhook_server import WebhookServer
from workload import KafkaBroker, load_average

from livefactor.client import Client
from livefactor.drill.faults import plant
from protos.events_pb2 import SEVERITY_ERROR, DriftEvent

BEFORE, AFTER = 4_800, 4_000
PATIENCE_S = 60.0
LEARNING = ("prequential.sample_every=1", "prequential.work_max=1000000000", "ranking.repeats=true")
CHANNELS = ("watch", "topic", "webhook")

Arrivals = Queue[tuple[str, float, DriftEvent]]
"""Channel, seconds since the epoch, and the event."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=1_000, help="events per second")
    return parser.parse_args()


def watch(address: str, arrivals: Arrivals) -> None:
    with Client(address) as client:
        for event in client.watch_drift("", min_severity="error"):
            arrivals.put(("watch", time.time(), event))


def consume(bootstrap: str, topic: str, arrivals: Arrivals, stop: threading.Event) -> None:
    settings = {"bootstrap.servers": bootstrap, "group.id": "bench", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    while not stop.is_set():
        message = consumer.poll(0.1)
        if message is not None and not message.error():
            arrivals.put(("topic", time.time(), DriftEvent.FromString(message.value())))
    consumer.close()


def take(server: WebhookServer, arrivals: Arrivals) -> None:
    while True:
        posted = server.came.get()
        event = DriftEvent(id=posted.headers["webhook-id"], severity=SEVERITY_ERROR)
        arrivals.put(("webhook", time.time(), event))


@contextmanager
def subscribed(run: Service, address: str, server: WebhookServer) -> Iterator[Arrivals]:
    """All three, until the block ends."""
    arrivals: Arrivals = Queue()
    stop = threading.Event()
    consumer = threading.Thread(
        target=consume, args=(run.bootstrap, run.settings.topics.drift, arrivals, stop)
    )
    consumer.start()
    for target, *arguments in ((watch, address, arrivals), (take, server, arrivals)):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    try:
        yield arrivals
    finally:
        stop.set()
        consumer.join()


def produce(run: Service, rows: list[dict[str, str]], rate: int | None, stop: threading.Event) -> None:
    """Rows one by one at a rate, or at once; the log stamps them as they come."""
    producer = Producer({"bootstrap.servers": run.bootstrap, "linger.ms": 0})
    started_s = time.perf_counter()
    for n, row in enumerate(rows):
        if stop.is_set():
            break
        producer.produce(run.topic, key=row["user_id"], value=orjson.dumps(row))
        producer.poll(0)
        if rate:
            time.sleep(max(0.0, started_s + n / rate - time.perf_counter()))
    producer.flush()


def latencies_ms(bootstrap: str, seed: int, rate: int) -> dict[str, float]:
    """Milliseconds by channel, of the first alarm of severity error."""
    rows = likes_by_taste(BEFORE + AFTER, users=300, items=120, tastes=6, seed=seed)
    faulty = plant(rows, "shuffle-labels", slice(BEFORE, BEFORE + AFTER), seed)
    stop = threading.Event()
    with (
        WebhookServer() as server,
        service(bootstrap, *LEARNING, f"drift.webhooks.ops.url={server.url}") as run,
    ):
        learner = run.start("learn")
        produce(run, faulty[:BEFORE], None, stop)
        run.wait_until_applied(learner, BEFORE)
        scorer = run.start("serve")
        address = scorer.address()
        with Client(address) as client:
            scorer.until(lambda: answered(client, "u0"))
        with subscribed(run, address, server) as arrivals:
            steady = threading.Thread(target=produce, args=(run, faulty[BEFORE:], rate, stop))
            steady.start()
            try:
                return _first_of_each(arrivals)
            finally:
                stop.set()
                steady.join()


def _first_of_each(arrivals: Arrivals) -> dict[str, float]:
    came: dict[str, tuple[float, str]] = {}
    times_ms: dict[str, int] = {}
    deadline_s = time.monotonic() + PATIENCE_S
    while len(came) < len(CHANNELS):
        channel, at_s, event = arrivals.get(timeout=max(0.1, deadline_s - time.monotonic()))
        if event.severity == SEVERITY_ERROR and channel not in came:
            came[channel] = at_s, event.id
        if event.time_ms:
            times_ms[event.id] = event.time_ms
    return {channel: at_s * 1_000 - times_ms[found] for channel, (at_s, found) in came.items()}


def main() -> None:
    wanted = options()
    with KafkaBroker() as broker:
        warm_up(broker.bootstrap, *LEARNING)
        rounds = [latencies_ms(broker.bootstrap, seed, wanted.rate) for seed in range(1, wanted.rounds + 1)]
    figures = []
    for channel in CHANNELS:
        found = [latencies[channel] for latencies in rounds]
        detail = {
            "median_ms": round(float(np.median(found)), 1),
            "all_ms": [round(each, 1) for each in found],
            "load": load_average(),
        }
        name = f"event that proves a fault to alarm received by {channel}, most in ms"
        figures.append({"figure": name, "ratio": max(found), "must": 2_000.0, "aim": 500.0, "detail": detail})
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
