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
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def settings_of(config: Path | None, overrides: list[str] | None) -> Settings:
    """Settings that a command runs with."""
    named = os.environ.get(ENVIRONMENT_CONFIG)
    return load(config or (Path(named) if named else None), os.environ, overrides or [])
