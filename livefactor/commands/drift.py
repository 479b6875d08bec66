"""`livefactor drift`: whether the model goes wrong."""

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from livefactor.commands.ask import client_of
from livefactor.commands.state import reader_of
from livefactor.console import print_fields, print_json, print_line, print_table, when
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of

if TYPE_CHECKING:
    from protos.events_pb2 import DriftEvent

EVENT_COLUMNS = ("time", "severity", "action", "reason", "message", "id")
SHIFT_COLUMNS = ("inputs", "median before", "median", "stability index", "Jensen-Shannon")

app = typer.Typer(help="Whether the model goes wrong: windows of losses, and alarms.", no_args_is_help=True)


class Action(StrEnum):
    """What a drift event says to do; "none" where it says what was done."""

    warn = "WARN"
    retrain = "RETRAIN"
    rollback = "ROLLBACK"
    none = "NONE"


class Level(StrEnum):
    """How bad it is."""

    info = "info"
    warning = "warning"
    error = "error"


@app.command()
def show(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Show how the live model does beside a frozen version and beside a baseline.

    All three judge the same sampled events before they are learnt, among the items known to all. In each
    window a user counts once. Of the latest sampled events: the share of the most frequent item, and of those
    whose users had the item already; and how they differ from those before.
    """
    from state.evidence import stored_evidence, stored_inputs
    from state.store import DRIFT_MEMO
    from stream.drift.histograms import QUANTITIES, shift_of
    from stream.drift.loss import LOSSES
    from stream.drift.series import TOP_SHARE, concentration
    from stream.drift.windows import WINDOW_EVENTS, windows_of

    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        evidence, inputs, memo = stored_evidence(reader), stored_inputs(reader), reader.head().memo
        loss = LOSSES[reader.identity()["feedback"]]
    records = evidence.latest()
    alarms = orjson.loads(memo.get(DRIFT_MEMO, b"{}"))
    several = [*alarms.get("concentrations", {}).values(), *alarms.get("shares", {}).values()]
    version = int(records["version"][-1]) if len(records) else 0
    windows = windows_of(records)
    latest = inputs.latest()
    earlier, sampled = latest[:-WINDOW_EVENTS], latest[-WINDOW_EVENTS:]
    shifts = [shift_of(name, earlier, sampled) for name in QUANTITIES if len(earlier) > 1]
    top_shares = {
        of: concentration(of, sampled)[TOP_SHARE].item() if len(sampled) else None for of in ("item", "user")
    }
    facts: dict[str, object] = {
        "sampled": inputs.added,
        "top_item_share": top_shares["item"],
        "top_user_share": top_shares["user"],
        "repeated_share": float(sampled["repeated"].mean()) if len(sampled) else None,
        "compared": evidence.added,
        "frozen_version": version or None,
        "loss": loss.name,
        "alarm": any(alarm.get("standing") for alarm in [alarms.get("losses", {}), *several]),
    }
    if as_json:
        facts["inputs"] = [shift._asdict() for shift in shifts]
        facts["windows"] = [asdict(window) for window in windows]
        print_json(facts)
        return
    print_fields(facts)
    columns = ("window", "from", "to", "events", "users", "model", loss.name, "reciprocal rank")
    rows = [
        (
            window.name,
            when(window.first_ms),
            when(window.last_ms),
            f"{window.events:,}",
            f"{window.users:,}",
            name,
            model.loss,
            model.reciprocal_rank,
        )
        for window in windows
        for name, model in window.models.items()
    ]
    print_table(columns, rows)
    if shifts:
        print_table(SHIFT_COLUMNS, shifts)


@app.command("list")
def list_events(
    as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None
) -> None:
    """List the latest drift events, oldest first; reads the store, needs no learner."""
    from stream.drift.announcement import fields_of
    from stream.drift.telling import kept_in

    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        events = kept_in(reader.head().memo).events
    if as_json:
        print_json([fields_of(event) for event in events])
        return
    print_table(EVENT_COLUMNS, [_cells(event) for event in events])


@app.command()
def watch(
    after_id: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="ID", help='Begin after this event; "" with the oldest that is kept.'
        ),
    ] = None,
    actions: Annotated[
        list[Action] | None,
        typer.Option("--action", help="These only; may be repeated.", case_sensitive=False),
    ] = None,
    min_severity: Annotated[
        Level, typer.Option("--min-severity", help="Nothing below.", case_sensitive=False)
    ] = Level.info,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document in each line.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Print drift events as they are raised, until interrupted; asks the scorer, and waits for it."""
    from stream.drift.announcement import fields_of

    wanted = [action.value for action in actions or ()]
    with client_of(config, overrides) as client:
        for event in client.watch_drift(after_id, actions=wanted, min_severity=min_severity.value):
            print_line(fields_of(event) if as_json else _cells(event))


def _cells(event: "DriftEvent") -> Sequence[object]:
    """In the order of EVENT_COLUMNS."""
    from stream.drift.announcement import action_of, severity_of

    return when(event.time_ms), severity_of(event), action_of(event), event.reason, event.message, event.id
