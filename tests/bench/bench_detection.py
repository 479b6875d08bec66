"""How many events pass until the service says that something is wrong, beside ADWIN and Page-Hinkley.

    python tests/bench/bench_detection.py --streams movielens-100k --seeds 1 2 3

Each stream goes through the drill's learner as it is and with each fault from half of it on, every event
sampled; a seed is that of the fault and of the learner. River's detectors get the hits among the first ten of
the live model, event by event. *At equal false alarms*: of a detector that looks for a fall, the most
sensitive setting that says no more of the undisturbed stream than the service does, if there is one. Where a
detector finds nothing its delay is counted to the end of the stream.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from river import drift

from livefactor.drill.faults import Row, plant
from livefactor.drill.run import Course, Plan, course_of, read_rows
from livefactor.options import settings_of
from protos.events_pb2 import SEVERITY_ERROR
from state.arrays import F64
from stream.walk.values import LIVE

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import realdata

STREAMS = ("movielens-100k", "movietweetings-100k", "amazon-grocery", "yoochoose-clicks")

CAUSES = {
    "permute-items": {"everything_collapsed", "taste_lost"},
    "shuffle-labels": {"taste_lost"},
    "pump-item": {"item_pumped"},
}
"""Reasons that are right, by fault."""

WARM_UP = 1_000
"""First compared events, which river's detectors do not get: the model learns most in them."""

Fired = Sequence[int]
"""Indices of events of a stream."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", nargs="+", default=STREAMS[:3], choices=STREAMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    return parser.parse_args()


def course(rows: Sequence[Row], seed: int) -> Course:
    flags = ["prequential.sample_every=1", f"prequential.work_max={10**9}", f"learning.seed={seed}"]
    return course_of(rows, settings_of(None, flags))


def errors(found: Course) -> list[tuple[int, str]]:
    """When, and for which reason."""
    return [
        (alarm.at, alarm.event.reason) for alarm in found.alarms if alarm.event.severity == SEVERITY_ERROR
    ]


def hits_of(found: Course) -> tuple[Fired, F64]:
    """The events that were judged, and whether the live model had the item among its first ten."""
    ranks = found.reciprocal_ranks[:, LIVE]
    judged = np.flatnonzero(~np.isnan(ranks))[WARM_UP:]
    return judged.tolist(), (ranks[judged] >= 0.1).astype(np.float64)


def fired(detector: Any, found: Course, only_falls: bool) -> list[int]:
    """After which events a detector says that the hit rate changed."""
    told = []
    events, hits = hits_of(found)
    for at, hit in zip(events, hits.tolist(), strict=True):
        before = getattr(detector, "estimation", np.inf)
        detector.update(hit)
        if detector.drift_detected and not (only_falls and getattr(detector, "estimation", 0.0) > before):
            told.append(at)
    return told


def settings(name: str) -> Iterator[Any]:
    """Detectors of that name that look for a fall, the most sensitive one first."""
    for n in range(4, 33):
        if name == "ADWIN":
            yield drift.ADWIN(delta=10 ** -(2 ** (n / 4)))
        else:
            yield drift.PageHinkley(threshold=2 ** (n / 2), mode="down")


def at_equal_false_alarms(undisturbed: Course, allowed: int) -> dict[str, Any]:
    """By name the most sensitive detector that says so little of a stream; none where no setting does."""
    quiet = {}
    for name in ("ADWIN", "Page-Hinkley"):
        for detector in settings(name):
            if len(fired(detector.clone(), undisturbed, only_falls=True)) <= allowed:
                quiet[name] = detector
                break
    return quiet


def delay(told: Fired, start: int, events: int) -> int:
    """Events from the fault to what was told of it, or to the end."""
    return min((at for at in told if at >= start), default=events) - start


def figures_of(stream: str, seed: int) -> Iterator[dict[str, object]]:
    rows = read_rows(realdata.ROOT / stream / "events.csv.gz", None, None)
    undisturbed = course(rows, seed)
    false_alarms = errors(undisturbed)
    yield {
        "figure": f"{stream}, seed {seed}: errors told of the stream as it is",
        "ratio": len(false_alarms),
        "must": 0.5,
        "aim": 0.0,
        "detail": {
            "errors": false_alarms,
            "ADWIN at its defaults": len(fired(drift.ADWIN(), undisturbed, only_falls=False)),
            "Page-Hinkley at its defaults": len(fired(drift.PageHinkley(), undisturbed, only_falls=False)),
        },
    }
    quiet = at_equal_false_alarms(undisturbed, len(false_alarms))
    for fault, causes in CAUSES.items():
        plan = Plan(fault, seed=seed)
        part = plan.part(len(rows))
        disturbed = course(plant(rows, fault, part, seed), seed)
        told = [(at, reason) for at, reason in errors(disturbed) if at >= part.start]
        ours = delay([at for at, _ in told], part.start, len(rows))
        named = delay([at for at, reason in told if reason in causes], part.start, len(rows))
        yield {
            "figure": f"{stream}, {fault}, seed {seed}: events until it is told, with its cause",
            "ratio": named,
            "must": 1_000.0,
            "aim": 300.0,
            "detail": {"errors": [(at - part.start, reason) for at, reason in told]},
        }
        peers = {
            name: delay(fired(detector.clone(), disturbed, only_falls=True), part.start, len(rows))
            for name, detector in quiet.items()
        }
        yield {
            "figure": f"{stream}, {fault}, seed {seed}: events until river tells ÷ until we do",
            "ratio": min(peers.values()) / ours,
            "must": 1.0,
            "aim": 5.0,
            "detail": {"ours": ours, **peers},
        }


def main() -> None:
    wanted = options()
    print(
        json.dumps(
            [
                figure
                for stream in wanted.streams
                for seed in wanted.seeds
                for figure in figures_of(stream, seed)
            ]
        )
    )


if __name__ == "__main__":
    main()
