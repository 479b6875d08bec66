"""`livefactor replay`: how good the model would have been on a recorded stream."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livefactor.console import (
    Advance,
    note,
    person_watches_progress,
    print_fields,
    print_json,
    print_table,
    progress,
)
from livefactor.options import (
    ColumnsOption,
    ConfigOption,
    CutoffOption,
    ExplicitOption,
    FileArgument,
    JsonOption,
    LimitOption,
    MinValueOption,
    ProgressOption,
    RepeatsOption,
    ReportOption,
    SampleOption,
    SetOption,
    TimeUnitOption,
    layout_of,
    settings_of,
    short_settings,
)

if TYPE_CHECKING:
    from livefactor.replay.recording import Recording
    from stream.config import LearningConfig
    from stream.effects import Counts

COUNTS = {
    "not_learnt": "taught nothing: of weight 0, below learning.min_value, or without a rating",
    "duplicates": "left out: their event_id came before",
}
"""What the counts of a step mean to who reads them."""


def replay(
    file: FileArgument,
    limit: LimitOption = None,
    min_value: MinValueOption = None,
    explicit: ExplicitOption = False,
    repeats: RepeatsOption = False,
    columns: ColumnsOption = None,
    time_unit: TimeUnitOption = None,
    sample: SampleOption = 1,
    batch: Annotated[
        int, typer.Option("--batch", min=1, metavar="N", help="Score and then learn N events at a time.")
    ] = 1,
    k: CutoffOption = 10,
    models: Annotated[
        str | None, typer.Option("--models", metavar="A,B,...", help="Models to compare; all by default.")
    ] = None,
    explain: Annotated[
        int,
        typer.Option(
            "--explain", min=0, max=1_000, metavar="N", help="Take the N largest mistakes of live apart."
        ),
    ] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad row, and at a file cut short.")
    ] = False,
    show_progress: ProgressOption = False,
    report_directory: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Replay FILE in time order, test-then-learn, and compare the model with simpler ones.

    Needs no Kafka and keeps nothing. Each event is scored before anything learns from it. Exit code 1 if the
    file was cut short.
    """
    from livefactor.page.document import prepare, write
    from livefactor.replay.recording import read
    from livefactor.replay.report import plots
    from livefactor.replay.run import report, run
    from stream.replay import Plan

    settings = settings_of(config, [*(overrides or []), *short_settings(min_value, explicit, repeats)])
    plan = Plan(sample, batch, [name.strip() for name in models.split(",")] if models else None, explain)
    if report_directory:
        prepare(report_directory)
    recording = read(file, settings.decode, layout_of(file, columns, time_unit), strict=strict, limit=limit)
    tell_of_file(recording, settings.learning)
    with progress_if_wanted(f"replaying {file.name}", len(recording.stream), show_progress) as advance:
        measured = run(
            recording,
            settings,
            plan,
            k,
            lambda done, detail: advance(done, detail=detail),
            traced=report_directory is not None,
        )
    _tell_counts(measured.result.counts)
    facts = report(recording, measured, settings, plan, k)
    if as_json:
        print_json(facts)
    else:
        _print(facts)
    if report_directory:
        drawn = plots(file.name, recording, measured, k)
        note(f"report: {write(report_directory, 'replay', facts, drawn)}")
    if recording.damage:
        raise typer.Exit(1)


@contextmanager
def progress_if_wanted(description: str, total: int | None, wanted: bool) -> Iterator[Advance]:
    """A progress display if a person watches or it is wanted."""
    if wanted or person_watches_progress():
        with progress(description, total) as advance:
            yield advance
    else:
        yield lambda done, total=None, detail="": None


def tell_of_file(recording: "Recording", learning: "LearningConfig") -> None:
    """What is odd about the file."""
    from stream.intake.event_types import describe_doubtful
    from stream.learning.meaning import describe_counts

    if not recording.sorted:
        note("the rows were not in time order: sorted, rows of the same time as they stood")
    for reason, count in recording.bad.most_common():
        note(f"{count:,} bad rows left out: {reason}")
    for row in recording.examples:
        note(f"line {row.line}: {row.reason}")
    if recording.doubtful_types:
        note(describe_doubtful(recording.doubtful_types))
    if words := describe_counts(recording.stream, learning):
        note(words)
    if recording.damage:
        note(recording.damage)


def _tell_counts(counts: "Counts") -> None:
    """Events that changed nothing, and updates that were refused."""
    from stream.learning import refusal

    for name, meaning in COUNTS.items():
        if count := getattr(counts, name):
            note(f"{count:,} events {meaning}")
    for words in refusal.describe(counts.refused):
        note(words)


def _print(facts: dict[str, Any]) -> None:
    """Tables, and the protocol under them."""
    ranking = facts["ranking"]
    k = ranking["k"]
    print_fields(
        {
            "events": f"{facts['events']:,}",
            "seconds": f"{facts['seconds']:.2f}",
            "events per second": f"{facts['events_per_second']:,.0f}",
            "peak memory": f"{facts['peak_rss_bytes'] / 2**20:,.0f} MiB",
        }
    )
    for split, count in ranking["scored"].items():
        rows = [
            [name, *parts[split].values(), _between(ranking["intervals"][name][split]["hr"])]
            for name, parts in ranking["models"].items()
        ]
        print_table(
            (f"model ({split})", f"HR@{k}", f"NDCG@{k}", "MRR", "log loss", f"HR@{k} between"),
            rows,
            title=f"{split}: {count:,} scored events",
        )
    if "rating" in facts:
        rows = [[name, errors["mae"], errors["rmse"]] for name, errors in facts["rating"]["models"].items()]
        print_table(("model (ratings)", "MAE", "RMSE"), rows, title="ratings")
    if facts.get("mistakes"):
        _print_mistakes(facts["mistakes"])
    print_fields(facts["protocol"])


def _print_mistakes(mistakes: list[dict[str, Any]]) -> None:
    """Two rows each: the item that was wanted, and the one that was ranked first instead."""
    rows = []
    for mistake in mistakes:
        for rank, told in ((mistake["rank"], mistake["wanted"]), (1, mistake["first"])):
            because = ", ".join(f"{item} {value:+.2f}" for item, value in told["because"].items())
            parts = [f"{value:+.2f}" for value in told["parts"].values()]
            rows.append([mistake["event"], mistake["user"] or "", told["item"], f"{rank:g}", *parts, because])
    names = mistakes[0]["wanted"]["parts"]
    columns = ("event", "user", "item", "rank", *names, "neighbours by item")
    print_table(columns, rows, title="the largest mistakes: what was wanted, and what was ranked first")


def _between(interval: tuple[float, float] | None) -> str:
    """A confidence interval in words."""
    return "" if interval is None else f"{interval[0]:.4f} and {interval[1]:.4f}"
