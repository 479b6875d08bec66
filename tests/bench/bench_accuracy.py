"""How often the wanted item is among the first ten, on the real streams, beside every single method.

    python tests/bench/bench_accuracy.py --sample 1 --streams movielens-100k

Each stream is replayed by `livefactor replay` with the settings as they come. Figures are of warm users
unless they say otherwise; an expert is any model but `live`. The last figures are of micro-batches of 100 and
1,000 events, relative to one event at a time.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import realdata
from replays import replayed

BATCHES = {100: (0.98, 0.99), 1_000: (0.95, 0.98)}


class Expected(NamedTuple):
    """HR@10 that must be reached and that is aimed at, with the options that the stream is replayed with."""

    must: float
    aim: float
    options: tuple[str, ...] = ()


STREAMS = {
    "movielens-100k": Expected(0.180, 0.190, ("--min-value", "4")),
    "movietweetings-100k": Expected(0.278, 0.295, ("--min-value", "8")),
    "amazon-grocery": Expected(0.298, 0.315),
    "yoochoose-clicks": Expected(0.450, 0.475),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", nargs="+", default=list(STREAMS), choices=list(STREAMS))
    parser.add_argument("--sample", type=int, default=5, help="one in so many events is scored")
    return parser.parse_args()


def ranking_of(stream: str, sample: int, *more: str) -> dict[str, Any]:
    """The figures of a stream, and of the weights that came of it."""
    path = realdata.ROOT / stream / "events.csv.gz"
    found: dict[str, Any] = replayed(path, "--sample", str(sample), *STREAMS[stream].options, *more)[
        "ranking"
    ]
    return found


def figures_of(stream: str, sample: int) -> list[dict[str, object]]:
    expected = STREAMS[stream]
    ranking = ranking_of(stream, sample)
    models = ranking["models"]
    live = models["live"]
    experts = {name: parts for name, parts in models.items() if name != "live"}

    def against_best(split: str, metric: str) -> dict[str, object]:
        best = max(experts, key=lambda name: experts[name][split][metric])
        values = live[split][metric], experts[best][split][metric]
        return {
            "figure": f"{stream}: {metric}@10 of live ÷ that of the best expert, {split}",
            "ratio": values[0] / values[1],
            "must": 1.0,
            "aim": 1.05,
            "detail": {"live": values[0], best: values[1]},
        }

    def in_batches(size: int, must: float, aim: float) -> dict[str, object]:
        found = ranking_of(stream, sample, "--models", "live", "--batch", str(size))
        value = found["models"]["live"]["warm"]["hr"]
        return {
            "figure": f"{stream}: hr@10 in micro-batches of {size:,} ÷ that of one event at a time",
            "ratio": value / live["warm"]["hr"],
            "must": must,
            "aim": aim,
            "detail": value,
        }

    return [
        {
            "figure": f"{stream}: hr@10 of live",
            "ratio": live["warm"]["hr"],
            "must": expected.must,
            "aim": expected.aim,
            "detail": {
                "scored": ranking["scored"],
                "weights": ranking["weights"],
            },
        },
        *(against_best(split, metric) for split in ("warm", "all") for metric in ("hr", "ndcg")),
        *(in_batches(size, *targets) for size, targets in BATCHES.items()),
    ]


if __name__ == "__main__":
    wanted = options()
    print(json.dumps([figure for stream in wanted.streams for figure in figures_of(stream, wanted.sample)]))
