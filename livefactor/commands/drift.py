"""`livefactor drift`: whether the model goes wrong."""

import time
from dataclasses import asdict

import orjson
import typer

from livefactor.commands.state import reader_of
from livefactor.console import print_fields, print_json, print_table
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of

app = typer.Typer(help="Whether the model goes wrong: windows of losses, and alarms.", no_args_is_help=True)


@app.command()
def show(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Show how the live model does beside a frozen version and beside popularity.

    All three judge the same sampled events before they are learnt, among the items known to all. In each
    window a user counts once. Of the latest sampled events: the share of the most frequent item, and of those
    whose users had the item already.
    """
    from state.evidence import stored_evidence, stored_inputs
    from state.store import DRIFT_MEMO
    from stream.drift.series import concentration
    from stream.drift.windows import WINDOW_EVENTS, windows_of

    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        evidence, inputs, memo = stored_evidence(reader), stored_inputs(reader), reader.head().memo
    records = evidence.latest()
    alarms = orjson.loads(memo.get(DRIFT_MEMO, b"{}"))
    version = int(records["version"][-1]) if len(records) else 0
    windows = windows_of(records)
    sampled = inputs.latest()[-WINDOW_EVENTS:]
    top_share, repeated = concentration(sampled).tolist() if len(sampled) else (None, None)
    facts: dict[str, object] = {
        "sampled": inputs.added,
        "top_item_share": top_share,
        "repeated_share": repeated,
        "compared": evidence.added,
        "frozen_version": version or None,
        "alarm": any(alarms.get(name, {}).get("standing") for name in ("losses", "inputs", "rejects")),
    }
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


@app.command("list")
def list_events(
    as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None
) -> None:
    """List the latest drift events, oldest first; reads the store, needs no learner."""
    from google.protobuf.json_format import MessageToDict

    from protos.events_pb2 import DriftEvents, Severity
    from state.store import DRIFT_EVENTS_MEMO
    from stream.drift.announcement import action_of

    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        events = DriftEvents.FromString(reader.head().memo.get(DRIFT_EVENTS_MEMO, b"")).events
    if as_json:
        print_json([MessageToDict(event, preserving_proto_field_name=True) for event in events])
        return
    rows = [
        (
            _when(event.time_ms),
            Severity.Name(event.severity).removeprefix("SEVERITY_").lower(),
            action_of(event),
            event.reason,
            event.message,
            event.id,
        )
        for event in events
    ]
    print_table(("time", "severity", "action", "reason", "message", "id"), rows)


def _when(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ms / 1000))
