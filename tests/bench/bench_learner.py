"""The durable SGD learner against reading the same topic and throwing it away, and against its peers.

    python tests/bench/bench_learner.py --events 200000 --rounds 1

A real broker; protobuf records of 1 M users (uniform) and 200 k items (Zipf) in 4 partitions; explicit
feedback, rank 64, every other setting as it comes. Reading alone and learning take turns, the learner in a
fresh process on a fresh store each time. See `Service.learn_to_end` for what its time includes. Quix
Streams and Kafka Streams do the same job on the first events of the same topic; their time runs from their
first event to their last, without start, final flush or end.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable

from peers import PeerMissingError, kafka_streams_events_per_s, quix_events_per_s
from processes import Service, service, warm_up
from workload import KafkaBroker, Speed, bare_consumption, fill, load_average, uniform

LEARNING = ("learning.algorithm=sgd", "learning.feedback=explicit", "learning.rank=64")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="times that the learner runs")
    parser.add_argument("--quix-events", type=int, default=300_000)
    parser.add_argument("--streams-events", type=int, default=1_000_000)
    parser.add_argument("--no-peers", action="store_true")
    return parser.parse_args()


def learn(bootstrap: str, topic: str, events: int) -> Speed:
    """One run of the learner on a store of its own."""
    with service(bootstrap, *LEARNING, f"topics.interactions={topic}") as run:
        speed, _ = run.learn_to_end(events)
    return speed


def learner_figure(bare: list[Speed], learner: list[Speed]) -> dict[str, object]:
    ratio = median_rate(learner) / median_rate(bare)
    cpu_ratio = statistics.median(s.cpu_us for s in bare) / statistics.median(s.cpu_us for s in learner)
    detail = {
        "learner": [speed.detail() for speed in learner],
        "bare": [speed.detail() for speed in bare],
        "ratio_by_processor_time": round(cpu_ratio, 3),
        "load": load_average(),
    }
    figure = "durable SGD learner, rank 64: events/s ÷ bare consume(10000)"
    return {"figure": figure, "ratio": ratio, "must": 0.15, "aim": 0.33, "detail": detail}


def median_rate(speeds: list[Speed]) -> float:
    return statistics.median(speed.events_per_s for speed in speeds)


def peer_figures(
    wanted: argparse.Namespace, bootstrap: str, topic: str, ours: float
) -> list[dict[str, object]]:
    """Figures of the peers that can be had here."""
    peers: tuple[tuple[str, Callable[[str, str, int], float], int, float, float], ...] = (
        ("Quix Streams 3", quix_events_per_s, wanted.quix_events, 6.0, 10.0),
        ("Kafka Streams 4.1, one thread", kafka_streams_events_per_s, wanted.streams_events, 1.5, 3.0),
    )
    figures = []
    for name, run, events, must, aim in peers:
        try:
            theirs = run(bootstrap, topic, min(events, wanted.events))
        except PeerMissingError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        detail = {"events_per_s": round(ours), "peer_events_per_s": round(theirs), "load": load_average()}
        figure = f"durable SGD learner, rank 64: events/s ÷ {name}"
        figures.append({"figure": figure, "ratio": ours / theirs, "must": must, "aim": aim, "detail": detail})
    return figures


def prepare(run: Service, wanted: argparse.Namespace) -> None:
    """Compile the kernels and fill the topic."""
    warm_up(run.bootstrap, *LEARNING)
    seconds = fill(run.bootstrap, run.topic, uniform(wanted.users, wanted.items, wanted.events, seed=1))
    print(f"{wanted.events:,} events published in {seconds:.1f} s", file=sys.stderr)


def main() -> None:
    wanted = options()
    with KafkaBroker() as broker, service(broker.bootstrap) as filled:
        prepare(filled, wanted)
        bare = [bare_consumption(broker.bootstrap, filled.topic, wanted.events)]
        learner = []
        for _ in range(wanted.rounds):
            learner.append(learn(broker.bootstrap, filled.topic, wanted.events))
            bare.append(bare_consumption(broker.bootstrap, filled.topic, wanted.events))
        figures = [learner_figure(bare, learner)]
        if not wanted.no_peers:
            figures += peer_figures(wanted, broker.bootstrap, filled.topic, median_rate(learner))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
