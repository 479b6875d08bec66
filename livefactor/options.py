"""Options that commands share, and the settings they lead to."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livefactor.console import note
from livefactor.settings import ENVIRONMENT_CONFIG, Settings, load

if TYPE_CHECKING:
    from livefactor.file_layout import Layout, Wanted

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help=f"Settings file (TOML). Also: {ENVIRONMENT_CONFIG}."),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
WaitOption = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="S", help="Seconds to wait for the answer.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; may be repeated."),
]
FileArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Events: delimited text, JSON lines (both also .gz) or Parquet."),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="FIELD=COLUMN,...", help="Which column is what: user_id=who,item_id=2."
    ),
]
TimeUnitOption = Annotated[
    str | None, typer.Option("--time-unit", metavar="UNIT", help="Of times that are numbers: s, ms, us, ns.")
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
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="DIR", help="Write index.html, with plots, and the figures as JSON there."
    ),
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


def wanted_of(columns: str | None, time_unit: str | None) -> "Wanted":
    """What a command was told of its file."""
    from livefactor.file_layout import FIELDS, UNITS, Wanted

    chosen: dict[str, str] = {}
    for text in columns.split(",") if columns else ():
        key, equals, name = (part.strip() for part in text.partition("="))
        if key not in FIELDS or not equals or not name:
            raise typer.BadParameter(
                f"{text.strip()!r}: write field=column, with one of the fields {', '.join(FIELDS)}",
                param_hint="--columns",
            )
        chosen[key] = name
    if time_unit is not None and time_unit not in UNITS:
        raise typer.BadParameter(f"{time_unit!r}: one of {', '.join(UNITS)}", param_hint="--time-unit")
    return Wanted(chosen, time_unit)


def layout_of(file: Path, columns: str | None, time_unit: str | None) -> "Layout":
    """How a command's file is laid out, which is said where it is not obvious."""
    from livefactor.event_files import recognise

    layout = recognise(file, wanted_of(columns, time_unit))
    for words in layout.notes:
        note(f"{file.name}: {words}")
    return layout


def short_settings(min_value: float | None, explicit: bool, repeats: bool) -> list[str]:
    """Settings that short options stand for."""
    chosen = [] if min_value is None else [f"learning.min_value={min_value}"]
    if explicit:
        chosen += ["learning.feedback=explicit"]
    return [*chosen, "ranking.repeats=true"] if repeats else chosen
