"""Resident memory of the learner: for each million users, and with ten times more users than may be resident.

    python tests/bench/bench_memory.py --users 50000 --items 5000 --rows-max 20000

The learner's process on a real broker; `sgd`, rank 64. First within `rows_max`: memory once all items and a
hundredth of the users are known, and once every one of 1 M users has had ten events; the difference is what
1 M users take. Then a learner whose `rows_max` has room for a tenth of its users: memory once twice as many
users as it has rows for have been seen, so that every buffer for coming and going is in use, and once ten
times as many have. Resident includes the libraries' code and everything that RocksDB and librdkafka buffer.
"""

import argparse
import json
import sys
import time

from processes import Process, Service, service, warm_up
from workload import KafkaBroker, Stream, fill, in_turns, load_average

LEARNING = ("learning.algorithm=sgd", "learning.feedback=explicit", "learning.rank=64")
EVENTS_EACH = 10
TIMES = 10
SETTLE_S = 2.0
"""Beyond the flush interval, for the last flush to end."""
GB = 1e9


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--rows-max", type=int, default=200_000, help="resident users of the second learner")
    parser.add_argument("--rows-max-items", type=int, default=20_000, help="items of the second learner")
    return parser.parse_args()


def memory_after(run: Service, learner: Process, stream: Stream, published: int) -> dict[str, float]:
    """Memory in GB when a stream has been learnt on top of `published` events, and flushed."""
    fill(run.bootstrap, run.topic, stream)
    target = published + len(stream)
    run.wait_until_applied(learner, target)
    time.sleep(run.settings.state.flush_interval_ms / 1000 + SETTLE_S)
    memory = {name: round(size / GB, 4) for name, size in learner.memory_bytes().items()}
    print(f"{target:,} events: {memory}", file=sys.stderr)
    return memory


def within_bound(bootstrap: str, wanted: argparse.Namespace) -> dict[str, object]:
    """What users take when all of them are resident."""
    bound = 2 * (wanted.users + wanted.items)
    limits = (f"state.rows_max={bound}", f"state.items_max={max(2 * wanted.items, 100)}")
    few = max(wanted.users // 100, 1)
    rounds = 4 * wanted.items // few + 1
    with service(bootstrap, *LEARNING, *limits) as run:
        learner = run.start("learn")
        start = in_turns(few, wanted.items, rounds, seed=1)
        base = memory_after(run, learner, start, 0)
        full = memory_after(
            run, learner, in_turns(wanted.users, wanted.items, EVENTS_EACH, seed=2), len(start)
        )
    added = (full["resident"] - base["resident"]) / (wanted.users - few) * 1_000_000
    detail = {"few_users_gb": base, "all_users_gb": full, "load": load_average()}
    figure = f"memory of 1 M users, sgd, rank 64, {EVENTS_EACH} events each, in GB"
    return {"figure": figure, "ratio": added, "must": 0.6, "aim": 0.5, "detail": detail}


def beyond_bound(bootstrap: str, wanted: argparse.Namespace) -> dict[str, object]:
    """Whether memory grows while users come that cannot all be resident."""
    items, users = wanted.rows_max_items, wanted.rows_max
    limits = (f"state.rows_max={users + items}", f"state.items_max={items}")
    memories = []
    with service(bootstrap, *LEARNING, *limits) as run:
        learner = run.start("learn")
        for part in range(TIMES):
            stream = in_turns(users, items, 1, seed=part, first_user=part * users)
            memories.append(memory_after(run, learner, stream, part * users))
    ratio = memories[-1]["resident"] / memories[1]["resident"]
    detail = {"gb": memories, "users": users * TIMES, "users_resident_max": users, "load": load_average()}
    figure = f"memory after {TIMES} times as many users as rows_max ÷ after twice as many"
    return {"figure": figure, "ratio": ratio, "must": 1.15, "aim": 1.1, "detail": detail}


def main() -> None:
    wanted = options()
    with KafkaBroker() as broker:
        warm_up(broker.bootstrap, *LEARNING)
        figures = [within_bound(broker.bootstrap, wanted), beyond_bound(broker.bootstrap, wanted)]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
