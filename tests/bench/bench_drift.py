"""What comparing models costs the learner: events/s with `drift.enabled` over those without, rank 32.

    python tests/bench/bench_drift.py --rounds 1

The learner's process on a real broker with default sampling, on a fresh store each time, in turns; a version
is kept every 100 micro-batches, so that a frozen model is compared for most of the stream. Streams: MovieLens
100K where it is available, and a synthetic one of 200 k events.
"""

import argparse
import json
import statistics

from processes import service, warm_up
from workload import KafkaBroker, Speed, Stream, fill, load_average, real_and_synthetic

LEARNING = ("learning.algorithm=als", "learning.batch_records_max=200", "state.base_interval_batches=100")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=20_000, help="of the synthetic stream")
    parser.add_argument("--items", type=int, default=5_000, help="of the synthetic stream")
    parser.add_argument("--events", type=int, default=200_000, help="of the synthetic stream")
    parser.add_argument("--rounds", type=int, default=3, help="times that each learner runs")
    return parser.parse_args()


def learn(bootstrap: str, topic: str, events: int, enabled: bool) -> Speed:
    """One run of the learner on a store of its own."""
    flags = (f"topics.interactions={topic}", f"drift.enabled={str(enabled).lower()}")
    with service(bootstrap, *LEARNING, *flags) as run:
        speed, _ = run.learn_to_end(events)
    return speed


def figure(name: str, stream: Stream, bootstrap: str, rounds: int) -> dict[str, object]:
    with service(bootstrap, *LEARNING) as first:
        topic = first.topic
        fill(bootstrap, topic, stream)
        speeds: dict[bool, list[Speed]] = {True: [], False: []}
        for turn in range(rounds):
            for enabled in (True, False) if turn % 2 else (False, True):
                speeds[enabled].append(learn(bootstrap, topic, len(stream), enabled))
    with_drift, without = (statistics.median(s.events_per_s for s in speeds[on]) for on in (True, False))
    cpu = [statistics.median(s.cpu_us for s in speeds[on]) for on in (False, True)]
    detail = {
        "comparing": [speed.detail() for speed in speeds[True]],
        "not": [speed.detail() for speed in speeds[False]],
        "ratio_by_processor_time": round(cpu[0] / cpu[1], 3),
        "load": load_average(),
    }
    title = f"comparing models, {name}: events/s with ÷ without"
    return {"figure": title, "ratio": with_drift / without, "must": 0.85, "aim": 0.95, "detail": detail}


def main() -> None:
    wanted = options()
    streams = real_and_synthetic(wanted.users, wanted.items, wanted.events)
    with KafkaBroker() as broker:
        warm_up(broker.bootstrap, *LEARNING)
        figures = [figure(name, stream, broker.bootstrap, wanted.rounds) for name, stream in streams.items()]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
