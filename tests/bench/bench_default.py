"""The durable learner as it is shipped against reading the same topic and throwing it away.

    python tests/bench/bench_default.py --rounds 1

A real broker, and the demo's real events (MovieTweetings), as often as `--repeats` says, each time by other
users; every setting as it comes but `learning.min_value` 8. The shipped blend, and factors alone, take turns
with reading alone, each in a fresh process on a fresh store. For what the time includes see
`Service.learn_to_end`.
"""

import argparse
import json
import statistics
from collections.abc import Iterator

from processes import service, warm_up
from workload import KafkaBroker, Speed, bare_consumption, load_average, publish

from livefactor.demo.catalogue import ratings

SHIPPED = ("learning.min_value=8",)
FACTORS = (*SHIPPED, "ranking.model=factors")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="times the stream comes, by other users")
    parser.add_argument("--rounds", type=int, default=3, help="times that each learner runs")
    return parser.parse_args()


def records(repeats: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of each event."""
    events = ratings()
    for repeat in range(repeats):
        for event in events:
            user_id = f"{event.user_id}.{repeat}"
            event_of = type(event)(
                user_id=user_id, item_id=event.item_id, event_type=event.event_type, value=event.value
            )
            yield user_id.encode(), event_of.SerializeToString()


def learn(bootstrap: str, topic: str, events: int, overrides: tuple[str, ...]) -> Speed:
    """One run on a store of its own."""
    with service(bootstrap, *overrides, f"topics.interactions={topic}") as run:
        speed, _ = run.learn_to_end(events)
    return speed


def figure(name: str, bare: list[Speed], learner: list[Speed], must: float, aim: float) -> dict[str, object]:
    """Events per second of the learner ÷ those of reading alone."""
    ratio = statistics.median(s.events_per_s for s in learner) / statistics.median(
        s.events_per_s for s in bare
    )
    detail = {
        "learner": [speed.detail() for speed in learner],
        "bare": [speed.detail() for speed in bare],
        "load": load_average(),
    }
    return {
        "figure": f"durable learner, {name}: events/s ÷ bare consume(10000)",
        "ratio": ratio,
        "must": must,
        "aim": aim,
        "detail": detail,
    }


def main() -> None:
    wanted = options()
    with KafkaBroker() as broker, service(broker.bootstrap) as filled:
        for overrides in (SHIPPED, FACTORS):
            warm_up(broker.bootstrap, *overrides)
        publish(broker.bootstrap, filled.topic, records(wanted.repeats))
        events = wanted.repeats * len(ratings())
        bare = [bare_consumption(broker.bootstrap, filled.topic, events)]
        blend, factors = [], []
        for _ in range(wanted.rounds):
            blend.append(learn(broker.bootstrap, filled.topic, events, SHIPPED))
            factors.append(learn(broker.bootstrap, filled.topic, events, FACTORS))
            bare.append(bare_consumption(broker.bootstrap, filled.topic, events))
    figures = [
        figure("the shipped blend", bare, blend, 0.03, 0.06),
        figure("ALS factors alone", bare, factors, 0.03, 0.06),
    ]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
