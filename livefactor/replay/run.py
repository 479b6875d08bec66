"""A replay from file to report: reading, timing, and the figures as they are printed."""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from livefactor.replay.intervals import interval
from livefactor.replay.recording import Recording
from livefactor.replay.weights import named_weights
from livefactor.settings import Settings
from state.arrays import Mask
from stream.evaluation.panel import Scores
from stream.evaluation.ranking import event_metrics, mean
from stream.evaluation.trace import ErrorSums, Trace
from stream.events import Interactions
from stream.replay import Plan, Replay, Result

SPLITS = ("all", "warm", "cold")
ADVANCE_EVERY_S = 0.2
WARM_UP_EVENTS = 100
SECTIONS = ("learning", "als", "sgd", "ranking", "decode", "prequential")
"""Sections of the settings that a replay depends on."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A result, the weights of the ranking score at its end, what was recorded on the way, and what it cost.

    `weights` are by group and name, empty where items are not ranked by the blend.
    """

    result: Result
    weights: Mapping[str, Mapping[str, float]]
    seconds: float
    trace: Trace | None = None


def run(
    recording: Recording,
    settings: Settings,
    plan: Plan,
    k: int,
    advance: Callable[[int, str], None] = lambda done, detail: None,
    *,
    traced: bool = False,
) -> Measured:
    """Replay a recording; `advance` hears now and then of the events done and how it goes.

    The seconds are those of scoring and learning, without reading the file or loading compiled code, but with
    tracing if `traced`.
    """
    stream = recording.stream
    trace = Trace(len(stream), len(np.unique(stream.item_hash)), k) if traced else None
    replay = Replay(stream, settings, plan, trace)
    _warm_up(stream, settings, plan)
    started_s = told_s = time.monotonic()
    while replay.advance():
        now_s = time.monotonic()
        if trace and trace.due(replay.done):
            trace.mark(
                replay.done, now_s - started_s, _error_sums(replay.result()), _weights(replay, settings)
            )
        if now_s - told_s >= ADVANCE_EVERY_S:
            told_s = now_s
            rate = replay.done / (now_s - started_s)
            advance(replay.done, f"{rate:,.0f} events/s  HR@{k} {replay.hit_rate(k):.4f}")
    seconds = time.monotonic() - started_s
    return Measured(replay.result(), _weights(replay, settings), seconds, trace)


def _warm_up(stream: Interactions, settings: Settings, plan: Plan) -> None:
    """Have everything compiled or loaded that a replay needs."""
    replay = Replay(stream.take(slice(0, WARM_UP_EVENTS)), settings, plan)
    while replay.advance():
        pass


def _weights(replay: Replay, settings: Settings) -> Mapping[str, Mapping[str, float]]:
    return named_weights(replay.model, settings.ranking.repeats) if replay.blends else {}


def _error_sums(result: Result) -> dict[str, ErrorSums]:
    return {name: (errors.rated, errors.absolute, errors.squared) for name, errors in result.ratings.items()}


def protocol(settings: Settings, plan: Plan, k: int) -> dict[str, object]:
    """How events were scored, for a reader of the figures."""
    history, repeats = settings.state.history_max, settings.ranking.repeats
    kept = "every item learnt from so far" + ("" if repeats else ", minus the user's history")
    known = "user and item seen before" + ("" if repeats else ", the item not in the user's history")
    return {
        "order": "by time, ties as in the file; each event is scored before anything learns from it",
        "batch_events": plan.batch_events,
        "sample_every": plan.sample_every,
        "repeats": repeats,
        "k": k,
        "history_events": history,
        "history": f"the user's last {history} learnt interactions",
        "scored": "positives that are no duplicates",
        "candidates": kept,
        "warm": known,
        "all": "every scored event; an item that is no candidate is a miss; a user never seen gets "
        "popularity from models of factors, and what newcomers like from the blend",
        "cold": "all minus warm",
        "ties": "middle rank",
        "log_loss": "softmax over all candidates at a scale learnt online for each model; popularity mixed "
        "with the uniform distribution in a share learnt online; misses have none and are left out",
        "intervals": "95 %, by bootstrap over blocks of consecutive scored events",
        "ratings": "MAE and RMSE over all rated events, predictions clipped to the ratings seen before",
    }


def report(
    recording: Recording, measured: Measured, settings: Settings, plan: Plan, k: int
) -> dict[str, object]:
    """Everything as one JSON object."""
    result = measured.result
    facts: dict[str, object] = {
        "events": result.events,
        "seconds": round(measured.seconds, 3),
        "events_per_second": round(result.events / max(measured.seconds, 1e-9), 1),
        "peak_rss_bytes": peak_rss_bytes(),
        "input": {
            "sorted": recording.sorted,
            "bad_rows": sum(recording.bad.values()),
            "bad_rows_by_reason": dict(recording.bad.most_common()),
            "first_bad_rows": [asdict(row) for row in recording.examples],
            "damage": recording.damage,
        },
        "counts": result.counts.named(),
        "config": config(settings),
        "protocol": protocol(settings, plan, k),
        "ranking": {**ranking(result.scores, k), "weights": _flat(measured.weights)},
    }
    if plan.mistakes:
        facts["mistakes"] = [asdict(mistake) for mistake in result.mistakes]
    if settings.learning.feedback == "explicit":
        models = {name: {"mae": errors.mae, "rmse": errors.rmse} for name, errors in result.ratings.items()}
        facts["rating"] = {"models": models}
    return facts


def _flat(weights: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{group}: {name}": value for group, values in weights.items() for name, value in values.items()}


def config(settings: Settings) -> dict[str, object]:
    """The settings that matter here: nothing of brokers, directories or secrets."""
    sections: dict[str, object] = {name: getattr(settings, name).model_dump(mode="json") for name in SECTIONS}
    return {**sections, "state": {"history_max": settings.state.history_max}}


def ranking(scores: Scores, k: int) -> dict[str, object]:
    """Figures of every model on every part of the scored events, and their confidence intervals."""
    parts = masks(scores)
    models: dict[str, dict[str, dict[str, float | None]]] = {}
    intervals: dict[str, dict[str, dict[str, tuple[float, float] | None]]] = {}
    for name, ranks in scores.ranks.items():
        values = event_metrics(ranks, scores.losses[name], k)
        models[name], intervals[name] = {}, {}
        for split, part in parts.items():
            models[name][split] = {metric: mean(value[part]) for metric, value in values.items()}
            intervals[name][split] = {metric: interval(value[part]) for metric, value in values.items()}
    counted = {split: int(part.sum()) for split, part in parts.items()}
    return {"k": k, "scored": counted, "models": models, "intervals": intervals}


def masks(scores: Scores) -> Mapping[str, Mask]:
    """Which scored events belong to each split."""
    return dict(zip(SPLITS, (np.ones(len(scores.warm), np.bool_), scores.warm, ~scores.warm), strict=True))


def peak_rss_bytes() -> int:
    """The most memory this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
