"""How often chance alone raises an alarm: months that are made of pieces of real streams.

    python tests/bench/bench_false_alarms.py --streams movielens-100k --months 10

Each stream goes through the drill's learner as it is, every event sampled. Of what was compared after the
model's first 4,096 events a month is made by drawing pieces of 300 records, one window, with replacement
(Kunsch 1989), so that whatever is alike within a window stays; times are those of a steady pace. Nothing
changes in such a month, so every error about losses is a false alarm.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from bench_detection import STREAMS, course

from livefactor.drill.run import Row, read_rows
from protos.events_pb2 import SEVERITY_ERROR
from state.evidence import RECORD, Evidence, Inputs
from state.ring import Entries
from stream.config import DriftConfig
from stream.drift.alarm import MONTH_MS
from stream.drift.histograms import POPULARITY
from stream.drift.loss import LOG_LOSS
from stream.drift.loss_alarm import LossAlarm
from stream.drift.shift_alarm import ShiftAlarm
from stream.drift.windows import WINDOW_EVENTS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import realdata

WARM_UP = 4_096
"""First compared events, which no month has."""

BATCH = 100


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", nargs="+", default=STREAMS, choices=STREAMS)
    parser.add_argument("--months", type=int, default=10)
    parser.add_argument("--events", type=int, default=100_000, help="Compared events in a month.")
    return parser.parse_args()


def compared_of(rows: Sequence[Row]) -> Entries:
    """What was compared after the beginning: `RECORD` [n]."""
    found = course(rows, seed=1)
    compared = np.flatnonzero(~np.isnan(found.losses[:, 0]))[WARM_UP:]
    records = np.zeros(len(compared), RECORD)
    _, users = np.unique([rows[at]["user_id"] for at in compared.tolist()], return_inverse=True)
    records["user"] = users
    records["losses"] = found.losses[compared]
    records["reciprocal_ranks"] = found.reciprocal_ranks[compared]
    return records


def month(records: Entries, events: int, random: np.random.Generator) -> Entries:
    """So many events over 30 days, in pieces of what was compared."""
    begins = random.integers(0, len(records) - WINDOW_EVENTS, events // WINDOW_EVENTS)
    drawn = records[(begins[:, None] + np.arange(WINDOW_EVENTS)).ravel()]
    drawn["time_ms"] = np.linspace(0, MONTH_MS, len(drawn)).astype(np.int64)
    return drawn


def errors(drawn: Entries) -> Iterator[str]:
    """Why errors were raised in a month."""
    evidence, config = Evidence(), DriftConfig()
    alarm = LossAlarm(evidence, LOG_LOSS, ShiftAlarm(Inputs(), POPULARITY, config), config)
    for first in range(0, len(drawn), BATCH):
        evidence.add(drawn[first : first + BATCH])
        for raised in alarm.advance():
            if raised.verdict.severity == SEVERITY_ERROR:
                yield raised.verdict.reason


def main() -> None:
    wanted = options()
    figures = []
    for stream in wanted.streams:
        records = compared_of(read_rows(realdata.ROOT / stream / "events.csv.gz", None, None))
        months = [
            list(errors(month(records, wanted.events, np.random.default_rng(seed))))
            for seed in range(wanted.months)
        ]
        figures.append(
            {
                "figure": f"{stream}: false alarms in a month of {wanted.events:,} compared events",
                "ratio": sum(map(len, months)) / len(months),
                "must": 1.0,
                "aim": DriftConfig().false_alarms_per_month,
                "detail": {"months": months},
            }
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
