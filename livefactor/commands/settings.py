"""`livefactor settings`: what a command would run with."""

from typing import Annotated

import typer

from livefactor.console import print_json, print_table
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of
from livefactor.settings import MASK, SECRET, Settings, to_plain


def settings(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference page of all settings instead.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Show every setting in force: defaults, file, environment and flags together. Secrets are masked."""
    if markdown:
        from livefactor.reference import settings_markdown

        print(settings_markdown(), end="")
        return
    tables = masked(settings_of(config, overrides))
    if as_json:
        print_json(tables)
        return
    rows = [(section, key, value) for section, table in tables.items() for key, value in table.items()]
    print_table(("section", "key", "value"), rows)


def masked(value: Settings) -> dict[str, dict[str, object]]:
    """Settings as plain values with secrets replaced."""
    return {
        section: {key: MASK if SECRET.search(key) else entry for key, entry in table.items()}
        for section, table in to_plain(value).items()
    }
