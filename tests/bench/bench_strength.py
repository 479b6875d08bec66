"""What `learning.strength` is worth where values are ratings, and where they are counts, seconds or prices.

    python tests/bench/bench_strength.py

The real streams, whose values are ratings or 1, get values of other kinds: plays that rise with the rating,
prices of items, seconds to a session's next click (real ones), amounts that say nothing. Each figure is the
HR@10 of warm users with the settings as they come, relative to the better of "value" and "binary".
"""

import csv
import gzip
import itertools
import json
import math
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import realdata
from replays import replayed

MUST, AIM = 0.98, 1.0
STRENGTHS = ("log", "value", "binary")
LARGEST = 1_000_000

Row = dict[str, str]
Values = Callable[[Sequence[Row], random.Random], list[str]]


def ratings(rows: Sequence[Row], _: random.Random) -> list[str]:
    """The values as they are."""
    return [row["value"] for row in rows]


def plays(rows: Sequence[Row], rng: random.Random) -> list[str]:
    """Log-normal counts whose logarithm rises with the rating."""
    highest = max(float(row["value"]) for row in rows)
    centres = (6 * float(row["value"]) / highest - 1 for row in rows)
    return [str(max(1, int(rng.lognormvariate(centre, 1.5)))) for centre in centres]


def prices(rows: Sequence[Row], rng: random.Random) -> list[str]:
    """One log-normal price per item, about 400."""
    drawn: dict[str, str] = {}
    return [drawn.setdefault(row["item_id"], str(round(rng.lognormvariate(6, 1.5), 2))) for row in rows]


def seconds(rows: Sequence[Row], _: random.Random) -> list[str]:
    """Seconds to the user's next event; none for the last."""
    times: dict[str, list[int]] = {}
    for row in rows:
        times.setdefault(row["user_id"], []).append(int(row["timestamp_ms"]))
    gaps = {
        user: iter([*(str((after - before) / 1_000) for before, after in itertools.pairwise(of_user)), ""])
        for user, of_user in times.items()
    }
    return [next(gaps[row["user_id"]]) for row in rows]


def amounts(rows: Sequence[Row], rng: random.Random) -> list[str]:
    """Anything from 1 to a million, evenly on a logarithmic scale."""
    return [str(int(math.exp(rng.uniform(0, math.log(LARGEST))))) for _ in rows]


KINDS: Sequence[tuple[str, Values]] = (
    ("movielens-100k", ratings),
    ("movielens-100k", plays),
    ("movielens-100k", prices),
    ("movietweetings-100k", ratings),
    ("movietweetings-100k", plays),
    ("amazon-grocery", amounts),
    ("yoochoose-clicks", seconds),
)


def write(stream: str, values: Values, path: Path) -> None:
    """A real stream with other values."""
    with gzip.open(realdata.ROOT / stream / "events.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row, value in zip(rows, values(rows, random.Random(1)), strict=True):
            writer.writerow(row | {"value": value})


def hit_rate(path: Path, strength: str) -> float:
    """HR@10 of warm users."""
    found = replayed(path, "--models", "live", "--set", f"learning.strength={strength}")
    return float(found["ranking"]["models"]["live"]["warm"]["hr"])


def figure_of(stream: str, values: Values, directory: Path) -> dict[str, object]:
    path = directory / f"{stream}-{values.__name__}.csv"
    write(stream, values, path)
    found = {strength: hit_rate(path, strength) for strength in STRENGTHS}
    return {
        "figure": f"{stream}, values are {values.__name__}: hr@10 by default ÷ better of value and binary",
        "ratio": found["log"] / max(found["value"], found["binary"]),
        "must": MUST,
        "aim": AIM,
        "detail": found,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps([figure_of(*kind, Path(temporary)) for kind in KINDS]))
