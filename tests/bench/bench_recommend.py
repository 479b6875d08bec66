"""`Recommend` ranked by the shipped blend against the same call ranked by factors alone.

    python tests/bench/bench_recommend.py --items 10000

A real learner and a real scorer for each, on the same events; one client asks one call after the other, each
time for another user. The two scorers run side by side and take turns.
"""

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from functools import partial
from itertools import count, islice

from processes import answered, service, warm_up
from workload import KafkaBroker, fill, load_average, uniform

from livefactor.client import Client

K = 10
MODELS = ("blend", "factors")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--calls", type=int, default=2_000, help="in one round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def calls_per_s(client: Client, users: list[str]) -> float:
    start_s = time.perf_counter()
    for user in users:
        client.recommend(user, K)
    return len(users) / (time.perf_counter() - start_s)


def main() -> None:
    wanted = options()
    found: dict[str, list[float]] = {model: [] for model in MODELS}
    with ExitStack() as stack:
        broker = stack.enter_context(KafkaBroker())
        warm_up(broker.bootstrap)
        clients = {}
        for model in MODELS:
            run = stack.enter_context(service(broker.bootstrap, f"ranking.model={model}"))
            fill(broker.bootstrap, run.topic, uniform(wanted.users, wanted.items, wanted.events, seed=1))
            run.learn_to_end(wanted.events)
            scorer = run.start("serve")
            clients[model] = stack.enter_context(Client(scorer.address()))
            scorer.until(partial(answered, clients[model], "u0"))
        users = (f"u{number % wanted.users}" for number in count(step=7))
        for _ in range(wanted.rounds + 1):
            asked = list(islice(users, wanted.calls))
            for model, client in clients.items():
                found[model].append(calls_per_s(client, asked))
    medians = {model: statistics.median(rates[1:]) for model, rates in found.items()}
    detail = {model: [round(rate) for rate in rates] for model, rates in found.items()}
    figure = {
        "figure": f"Recommend k = {K}, {wanted.items:,} items: calls/s of the blend ÷ those of factors alone",
        "ratio": medians["blend"] / medians["factors"],
        "must": 0.7,
        "aim": 0.9,
        "detail": {**detail, "load": load_average()},
    }
    print(json.dumps([figure]))


if __name__ == "__main__":
    main()
