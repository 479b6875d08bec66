"""What came of `livefactor tune`, as facts, as sentences and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from livefactor.tune.measuring import Work
from livefactor.tune.run import Outcome

COLUMNS = ("events", "metric", "default", "tuned", "difference", "95 % between")


def facts_of(outcome: Outcome, work: Work, file: Path) -> dict[str, Any]:
    """Everything as one JSON object."""
    return {
        "file": file.name,
        "events": len(work.stream),
        "searched_events": outcome.searched,
        "reported_events": outcome.reported,
        "metric": work.metric,
        "k": work.k,
        "repeats": work.settings.ranking.repeats,
        "sample_every": work.plan.sample_every,
        "trials": {
            "measured": outcome.measured,
            "from_journal": outcome.resumed,
            "failed": dict(outcome.failures),
        },
        "changed": {name: {"default": old, "tuned": new} for name, (old, new) in outcome.changed.items()},
        "report": {name: asdict(part) for name, part in outcome.parts.items()},
        "default_failure": outcome.default_failure,
        "tuned_failure": outcome.tuned_failure,
        "better": outcome.better,
        "recommended": "tuned" if outcome.better else "default",
    }


def summary(facts: Mapping[str, Any]) -> list[str]:
    """How it came about, and what to make of it."""
    trials = facts["trials"]
    failed = sum(trials["failed"].values())
    lines = [
        f"searched by {facts['metric']} on the first {facts['searched_events']:,} events: "
        f"{trials['measured']:,} measurements, {failed:,} of them failed",
        f"measured on the {facts['reported_events']:,} events after them, never searched on",
    ]
    if facts["default_failure"]:
        lines.append(f"the settings as they were failed there: {facts['default_failure']}")
    if facts["tuned_failure"]:
        lines.append(f"the tuned settings failed there: {facts['tuned_failure']}")
    if facts["better"]:
        return [*lines, "recommended: the tuned settings"]
    if not facts["changed"]:
        return [*lines, "recommended: the settings as they were; nothing better was found"]
    return [
        *lines,
        "recommended: the settings as they were; the tuned are not better beyond the confidence interval",
    ]


def rows(facts: Mapping[str, Any]) -> list[list[str]]:
    """Every metric before and after, for each part of the events."""
    return [
        [
            f"{name} ({part['events']:,})",
            f"{metric}@{facts['k']}" if metric in ("hr", "ndcg") else metric,
            *("" if found[key] is None else f"{found[key]:.4f}" for key in ("default", "tuned")),
            "" if found["difference"] is None else f"{found['difference']:+.4f}",
            "" if found["interval"] is None else "{:+.4f} and {:+.4f}".format(*found["interval"]),
        ]
        for name, part in facts["report"].items()
        for metric, found in part["metrics"].items()
    ]


def aligned(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cells padded so that columns stand below their names."""
    table = [list(COLUMNS), *rows] if rows else []
    widths = [max(len(row[column]) for row in table) + 2 for column in range(len(COLUMNS))] if table else []
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in table]
