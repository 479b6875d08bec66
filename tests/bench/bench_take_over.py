"""How soon a stand-by learns once the learner of its directory was killed: seconds, the slowest of some.

    python tests/bench/bench_take_over.py --rounds 3

On a real broker, from the SIGKILL of the first to the second's first micro-batch, while events keep coming.
"""

import argparse
import json
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

from workload import KafkaBroker, load_average  # makes the next importable

# isort: split
from crash_campaign import Campaign
from owners import taken_over


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def take_over_s(broker: KafkaBroker, seed: int) -> float:
    """Seconds that one took."""
    with TemporaryDirectory() as folder:
        campaign = Campaign(broker.bootstrap, Path(folder), "als", seed)
        campaign.publisher.start()
        try:
            with taken_over(campaign) as (second, took_s):
                second.signal(signal.SIGTERM)
                second.wait()
            return took_s
        finally:
            campaign.close()


def main() -> None:
    wanted = options()
    with KafkaBroker() as broker:
        seconds = [round(take_over_s(broker, seed), 2) for seed in range(wanted.rounds)]
    figure = {
        "figure": "stand-by learns after the SIGKILL of the first, slowest, in s",
        "ratio": max(seconds),
        "must": 3.0,
        "aim": 1.0,
        "detail": {"seconds": seconds, "load": load_average()},
    }
    print(json.dumps([figure]))


if __name__ == "__main__":
    main()
