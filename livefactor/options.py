"""Options that commands share, and the settings they lead to."""

import os
from pathlib import Path
from typing import Annotated

import typer

from livefactor.settings import ENVIRONMENT_CONFIG, Settings, load

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help=f"Settings file (TOML). Also: {ENVIRONMENT_CONFIG}."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; may be repeated."),
]
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="Events: .csv, .csv.gz, .jsonl or .jsonl.gz.")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="The first N events only.")
]
MinValueOption = Annotated[
    float | None, typer.Option("--min-value", metavar="X", help="Short for --set learning.min_value=X.")
]
ExplicitOption = Annotated[
    bool, typer.Option("--explicit", help="Values are ratings to predict: learning.feedback=explicit.")
]
RepeatsOption = Annotated[
    bool, typer.Option("--repeats", help="Items of a user's history stay candidates, and count.")
]
SampleOption = Annotated[
    int, typer.Option("--sample", min=1, metavar="N", help="Score one in N events, by a hash of its place.")
]
CutoffOption = Annotated[int, typer.Option("--k", "-k", min=1, metavar="K", help="Cut-off of HR and NDCG.")]
ProgressOption = Annotated[
    bool, typer.Option("--progress", help="Say how far it is even where nobody watches.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def settings_of(config: Path | None, overrides: list[str] | None) -> Settings:
    """Settings that a command runs with."""
    named = os.environ.get(ENVIRONMENT_CONFIG)
    return load(config or (Path(named) if named else None), os.environ, overrides or [])


def short_settings(min_value: float | None, explicit: bool, repeats: bool) -> list[str]:
    """Settings that short options stand for."""
    chosen = [] if min_value is None else [f"learning.min_value={min_value}"]
    if explicit:
        chosen += ["learning.feedback=explicit"]
    return [*chosen, "ranking.repeats=true"] if repeats else chosen
