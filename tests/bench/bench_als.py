"""The durable ALS learner against `implicit` updating one event at a time, rank 32.

    python tests/bench/bench_als.py --events 20000 --peer-events 500

Ours is the learner's process on a real broker, as `Service.learn_to_end` times it. Theirs is
`partial_fit_users` and then `partial_fit_items` for every event, on the same histories (the latest 100 of
each user and item) in one thread, timed on stretches spread evenly over the stream, since histories grow.
Streams: MovieLens 100K where it is available, and a synthetic one of 200 k events.
"""

import argparse
import json
import os
import time
from collections import deque

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from processes import service, warm_up
from scipy.sparse import csr_matrix
from workload import KafkaBroker, Stream, fill, load_average, real_and_synthetic

RANK = 32
HISTORY_MAX = 100
STRETCHES = 10
LEARNING = ("learning.algorithm=als", f"learning.rank={RANK}", f"state.history_max={HISTORY_MAX}")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=20_000, help="of the synthetic stream")
    parser.add_argument("--items", type=int, default=5_000, help="of the synthetic stream")
    parser.add_argument(
        "--events", type=int, default=200_000, help="of the synthetic stream; most of the real"
    )
    parser.add_argument("--peer-events", type=int, default=4_000, help="that `implicit` is timed on")
    return parser.parse_args()


class Histories:
    """The latest interactions of each row of one side."""

    def __init__(self, count: int, others: int) -> None:
        self._latest: list[deque[tuple[int, float]]] = [deque(maxlen=HISTORY_MAX) for _ in range(count)]
        self._others = others

    def append(self, row: int, other: int, value: float) -> None:
        self._latest[row].append((other, value))

    def matrix(self, row: int) -> csr_matrix:
        """The row's history, 1 x others, as `implicit` takes it."""
        others, values = zip(*self._latest[row], strict=True)
        bounds = (0, len(others))
        return csr_matrix((np.array(values, np.float32), others, bounds), shape=(1, self._others))


def implicit_events_per_s(stream: Stream, timed: int) -> float:
    """Speed of one update of the user and one of the item for each event."""
    user_count, item_count = int(stream.users.max()) + 1, int(stream.items.max()) + 1
    random = np.random.default_rng(1)
    model = AlternatingLeastSquares(factors=RANK, num_threads=1)
    model.user_factors = (0.1 * random.standard_normal((user_count, RANK))).astype(np.float32)
    model.item_factors = (0.1 * random.standard_normal((item_count, RANK))).astype(np.float32)
    users, items = Histories(user_count, item_count), Histories(item_count, user_count)
    spacing, length = len(stream) // STRETCHES, timed // STRETCHES
    elapsed_s = 0.0
    for position, (user, item, value) in enumerate(
        zip(stream.users.tolist(), stream.items.tolist(), stream.values.tolist(), strict=True)
    ):
        users.append(user, item, value)
        items.append(item, user, value)
        if position % spacing >= spacing - length:
            of_user, of_item = users.matrix(user), items.matrix(item)
            start_s = time.perf_counter()
            model.partial_fit_users([user], of_user)
            model.partial_fit_items([item], of_item)
            elapsed_s += time.perf_counter() - start_s
    return STRETCHES * length / elapsed_s


def figure(name: str, stream: Stream, bootstrap: str, peer_events: int) -> dict[str, object]:
    with service(bootstrap, *LEARNING) as run:
        fill(run.bootstrap, run.topic, stream)
        ours, _ = run.learn_to_end(len(stream))
    theirs = implicit_events_per_s(stream, peer_events)
    detail = {**ours.detail(), "implicit_events_per_s": round(theirs), "load": load_average()}
    title = f"durable ALS learner, rank {RANK}, {name}: events/s ÷ implicit one event at a time"
    ratio = ours.events_per_s / theirs
    return {"figure": title, "ratio": ratio, "must": 5.0, "aim": 10.0, "detail": detail}


def main() -> None:
    wanted = options()
    streams = real_and_synthetic(wanted.users, wanted.items, wanted.events)
    with KafkaBroker() as broker:
        warm_up(broker.bootstrap, *LEARNING)
        figures = [
            figure(name, stream, broker.bootstrap, wanted.peer_events) for name, stream in streams.items()
        ]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
