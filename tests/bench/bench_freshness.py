"""From an event produced to its effect visible in `Score`, under a sustained load.

    python tests/bench/bench_freshness.py --seconds 5 --algorithms als

A real broker; learner, scorer and the load's producer are processes of their own. Fifty times a second, by
the clock and whatever came of the earlier ones, a user nobody has seen publishes an event; one client asks
`Score` about the oldest such user not yet known until the answer is no longer `cold`. Timed from the call
of `produce` (with `linger.ms = 0`) to the arrival of that answer.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
from confluent_kafka import Producer
from processes import answered, service, warm_up
from workload import KafkaBroker, Stream, fill, in_turns, load_average, records, uniform

from livefactor.client import Client

MARKERS_PER_S = 50
PAUSE_S = 0.001
WARM_S = 3.0
TICKS_PER_S = 200
PATIENCE_S = 10.0
ALGORITHMS = {
    "als": ("learning.algorithm=als", "learning.rank=32"),
    "sgd": ("learning.algorithm=sgd", "learning.feedback=explicit", "learning.rank=64"),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument(
        "--before", type=int, default=1_000_000, help="events that the same learner has learnt before"
    )
    parser.add_argument("--rate", type=int, default=5_000, help="events per second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=list(ALGORITHMS))
    parser.add_argument("--produce", nargs=2, metavar=("BOOTSTRAP", "TOPIC"), help=argparse.SUPPRESS)
    return parser.parse_args()


def produce_steadily(wanted: argparse.Namespace) -> None:
    """The load: the same share of it every few milliseconds, until killed."""
    bootstrap, topic = wanted.produce
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    events = int(wanted.rate * (WARM_S + wanted.seconds + 2 * PATIENCE_S))
    load = list(records(uniform(wanted.users, wanted.items, events, seed=2)))
    start_s, step = time.perf_counter(), wanted.rate // TICKS_PER_S
    for first in range(0, events, step):
        for key, value in load[first : first + step]:
            producer.produce(topic, key=key, value=value)
        producer.poll(0)
        time.sleep(max(0.0, start_s + first / wanted.rate - time.perf_counter()))


def markers(count: int) -> list[tuple[bytes, bytes]]:
    """Events of users that nothing else in the stream mentions."""
    users = np.arange(count) + 1_000_000_000
    return list(records(Stream(users, np.arange(count) % 100, np.full(count, 5.0))))


def latencies_ms(bootstrap: str, topic: str, client: Client, seconds: float) -> list[float]:
    """Milliseconds until each marker was visible."""
    settings = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 0}
    producer = Producer(settings)
    waiting = deque(markers(int(MARKERS_PER_S * seconds)))
    pending: deque[tuple[str, float]] = deque()
    found: list[float] = []
    producer.list_topics(topic, timeout=PATIENCE_S)
    due_s = start_s = time.perf_counter()
    while waiting or pending:
        now_s = time.perf_counter()
        if now_s > start_s + seconds + PATIENCE_S:
            raise TimeoutError(f"{len(pending)} events were not visible after {PATIENCE_S} s")
        if waiting and now_s >= due_s:
            key, value = waiting.popleft()
            producer.produce(topic, key=key, value=value)
            producer.poll(0)
            pending.append((key.decode(), now_s))
            due_s += 1 / MARKERS_PER_S
        elif pending and answered(client, pending[0][0]):
            found.append((time.perf_counter() - pending.popleft()[1]) * 1000)
        else:
            time.sleep(PAUSE_S)
    return found


def measure(bootstrap: str, algorithm: str, wanted: argparse.Namespace) -> list[dict[str, object]]:
    """Both percentiles for one algorithm."""
    with service(bootstrap, *ALGORITHMS[algorithm]) as run:
        learner = run.start("learn")
        fill(bootstrap, run.topic, in_turns(wanted.users, wanted.items, 1, seed=1)[: wanted.before])
        run.wait_until_applied(learner, wanted.before)
        scorer = run.start("serve")
        command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
        load = subprocess.Popen([*command, "--produce", bootstrap, run.topic])
        try:
            with Client(scorer.address()) as client:
                scorer.until(lambda: answered(client, "u0"))
                time.sleep(WARM_S)
                before = sum(run.positions().values())
                start_s = time.perf_counter()
                found = latencies_ms(bootstrap, run.topic, client, wanted.seconds)
                elapsed_s = time.perf_counter() - start_s
                applied = sum(run.positions().values()) - before
        finally:
            load.kill()
            load.wait()
    p50, p90, p99 = np.percentile(found, [50, 90, 99])
    detail = {
        "p50_ms": round(p50, 1),
        "p90_ms": round(p90, 1),
        "p99_ms": round(p99, 1),
        "most_ms": round(max(found), 1),
        "markers": len(found),
        "applied_events_per_s": round(applied / elapsed_s),
        "load": load_average(),
    }
    name = f"event produced to visible in Score, {algorithm}, {wanted.rate:,} events/s"
    return [
        {"figure": f"{name}, p50 in ms", "ratio": p50, "must": 60.0, "aim": 30.0, "detail": detail},
        {"figure": f"{name}, p99 in ms", "ratio": p99, "must": 200.0, "aim": 100.0, "detail": detail},
    ]


def main() -> None:
    wanted = options()
    if wanted.produce:
        produce_steadily(wanted)
        return
    figures = []
    with KafkaBroker() as broker:
        for algorithm in wanted.algorithms:
            warm_up(broker.bootstrap, *ALGORITHMS[algorithm])
            figures += measure(broker.bootstrap, algorithm, wanted)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
