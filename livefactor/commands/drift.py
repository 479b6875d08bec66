"""`livefactor drift`: whether the model goes wrong."""

import time
from dataclasses import asdict

import typer

from livefactor.commands.state import reader_of
from livefactor.console import print_fields, print_json, print_table
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of

app = typer.Typer(help="Whether the model goes wrong: windows of losses.", no_args_is_help=True)


@app.command()
def show(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Show how the live model does beside a frozen version and beside popularity.

    All three judge the same sampled events before they are learnt, among the items known to all. In each
    window a user counts once.
    """
    from state.evidence import stored_evidence
    from stream.drift.windows import windows_of

    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        evidence = stored_evidence(reader)
    records = evidence.latest()
    version = int(records["version"][-1]) if len(records) else 0
    windows = windows_of(records)
    facts: dict[str, object] = {"compared": evidence.added, "frozen_version": version or None}
    if as_json:
        print_json({**facts, "windows": [asdict(window) for window in windows]})
        return
    print_fields(facts)
    columns = ("window", "from", "to", "events", "users", "model", "log loss", "reciprocal rank")
    rows = [
        (
            window.name,
            _when(window.first_ms),
            _when(window.last_ms),
            f"{window.events:,}",
            f"{window.users:,}",
            name,
            model.log_loss,
            model.reciprocal_rank,
        )
        for window in windows
        for name, model in window.models.items()
    ]
    print_table(columns, rows)


def _when(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ms / 1000))
