"""`livefactor tune`: better settings for a recorded stream, and whether they really are better."""

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livefactor.commands.replay import progress_if_wanted, tell_of_file
from livefactor.console import note, print_json, print_table
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
    SampleOption,
    SetOption,
    TimeUnitOption,
    layout_of,
    settings_of,
    short_settings,
)
from state.errors import ConfigError

if TYPE_CHECKING:
    from livefactor.settings import Settings

RANKING_METRICS = ("ndcg", "hr", "mrr", "log_loss")
INTERRUPTED = 130


def tune(
    file: FileArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Settings file to write.")] = Path(
        "livefactor.tuned.toml"
    ),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite it, and write it even if nothing is better.")
    ] = False,
    trials: Annotated[int, typer.Option("--trials", min=1, metavar="N", help="Settings to try.")] = 30,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout-s", min=1, metavar="S", help="Search no longer than this; then report."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=256, metavar="N", help="Processes.")] = 1,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="M", help="ndcg (default), hr, mrr, log_loss; with --explicit rmse, mae."
        ),
    ] = None,
    limit: LimitOption = None,
    min_value: MinValueOption = None,
    explicit: ExplicitOption = False,
    repeats: RepeatsOption = False,
    columns: ColumnsOption = None,
    time_unit: TimeUnitOption = None,
    sample: SampleOption = 1,
    k: CutoffOption = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of the settings to try.")] = 1,
    show_progress: ProgressOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Search for better settings on the first 30 % of FILE, and measure them on the rest.

    Rank, ridge, weights and decays are tuned, except those named in --set. What was measured is kept in a
    journal beside the output, from which the same command goes on. The settings are written if they are
    better on the rest beyond the confidence interval. Exit code 1 if the file was cut short.
    """
    from livefactor.replay.recording import read
    from livefactor.tune.measuring import Work
    from livefactor.tune.report import facts_of
    from livefactor.tune.run import Request, Tuning
    from stream.replay import LIVE, Plan

    settings = settings_of(config, [*(overrides or []), *short_settings(min_value, explicit, repeats)])
    chosen = _metric(metric, settings)
    _check_out(out, force)
    recording = read(file, settings.decode, layout_of(file, columns, time_unit), limit=limit)
    tell_of_file(recording, settings.learning)
    work = Work(recording.stream, settings, Plan(sample, models=[LIVE]), chosen, k)
    held = {text.partition("=")[0].strip() for text in overrides or ()}
    journal = out.with_name(f"{out.name}.journal")
    end_s = time.monotonic() + timeout_s if timeout_s else math.inf
    try:
        with Tuning(work, Request(trials, seed, jobs, held), journal) as tuning:
            with progress_if_wanted(f"searching in {file.name}", None, show_progress) as advance:
                best = tuning.search(lambda: time.monotonic() > end_s, advance)
            with progress_if_wanted(f"measuring on the rest of {file.name}", None, show_progress) as advance:
                outcome = tuning.report(best, advance)
    except KeyboardInterrupt:
        note(f"interrupted: what was measured is in {journal}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from None
    written = outcome.better or force
    files = {"written": str(out) if written else None, "journal": str(journal)}
    facts = facts_of(outcome, work, file) | files
    if written:
        _write(out, outcome.settings, facts)
    if as_json:
        print_json(facts)
    else:
        _print(facts)
    if recording.damage:
        raise typer.Exit(1)


def _metric(name: str | None, settings: "Settings") -> str:
    """The metric asked for, or the usual one. Raises ConfigError for one that there is not."""
    from livefactor.tune.measuring import RATING_METRICS

    explicit = settings.learning.feedback == "explicit"
    known = (*RATING_METRICS, *RANKING_METRICS) if explicit else RANKING_METRICS
    if name is None:
        return known[0]
    if name not in known:
        hint = "; rmse and mae need --explicit" if name in RATING_METRICS else ""
        raise ConfigError(f"--metric {name}: must be one of {', '.join(known)}{hint}")
    return name


def _check_out(out: Path, force: bool) -> None:
    """Raise ConfigError if the output cannot be written, before there is any work to lose."""
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no directory {out.parent}")
    if out.is_dir() or (out.exists() and not force):
        raise ConfigError(
            f"--out {out}: it is there already; choose another name, or overwrite it with --force"
        )


def _write(out: Path, settings: "Settings", facts: dict[str, Any]) -> None:
    """The settings other than the defaults, secrets left out, under what was measured."""
    from livefactor.settings import SECRET, differing, tables_to_toml
    from livefactor.tune.report import aligned, rows, summary

    tables = differing(settings)
    secrets = [f"{section}.{key}" for section, table in tables.items() for key in table if SECRET.search(key)]
    kept = {
        section: {key: value for key, value in table.items() if not SECRET.search(key)}
        for section, table in tables.items()
    }
    lines = [
        f"What `livefactor tune` found for {json.dumps(facts['file'])}; only what differs from the defaults.",
        *summary(facts),
        *("".join(cells) for cells in aligned(rows(facts))),
        *(f"Left out because it is secret: {name}" for name in secrets),
    ]
    comment = "\n".join(f"# {line}".rstrip() for line in lines)
    try:
        out.write_text(f"{comment}\n\n{tables_to_toml(kept)}", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error}") from error


def _print(facts: dict[str, Any]) -> None:
    """What was found, the comparison, and what to do."""
    from livefactor.tune.report import COLUMNS, rows, summary

    changed = [[name, values["default"], values["tuned"]] for name, values in facts["changed"].items()]
    print_table(("setting", "default", "tuned"), changed, title="settings")
    print_table(COLUMNS, rows(facts), title=f"on the last {facts['reported_events']:,} events")
    for line in summary(facts):
        print(line)
    if facts["written"]:
        print(f"written: {facts['written']}; use it: livefactor learn --config {facts['written']}")
    for reason, count in facts["trials"]["failed"].items():
        note(f"{count:,} measurements failed: {reason}")
