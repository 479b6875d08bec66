"""`livefactor publish`: a file of interactions into the log."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from livefactor.console import note, print_fields, print_json, progress
from livefactor.options import (
    ColumnsOption,
    ConfigOption,
    FileArgument,
    JsonOption,
    SetOption,
    TimeUnitOption,
    layout_of,
    settings_of,
)

if TYPE_CHECKING:
    from livefactor.publish import Account


def publish(
    file: FileArgument,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.001, metavar="N", help="Events per second.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="At most N events.")
    ] = None,
    columns: ColumnsOption = None,
    time_unit: TimeUnitOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Publish the interactions in FILE as protobuf records keyed by user_id.

    The columns are user_id and item_id and may be event_type, value, timestamp_ms and event_id; other
    names, separators and units of time are recognised and said (see docs/files.md). Bad rows are skipped
    and reported. Exit code 1 unless a broker has acknowledged every event and the file was whole.
    """
    from livefactor.event_files import read_events
    from livefactor.publish import publish as publish_rows

    settings = settings_of(config, overrides)
    layout = layout_of(file, columns, time_unit)
    from stream.kafka import KafkaPublisher, require_broker

    require_broker(settings.kafka)
    with (
        closing(KafkaPublisher(settings.kafka)) as publisher,
        progress(f"publishing {file.name}", limit) as advance,
    ):
        topic = settings.topics.interactions
        rows = read_events(file, layout)
        account = publish_rows(rows, publisher, topic, rate=rate, limit=limit, advance=advance)
    if as_json:
        print_json(_facts(account))
    else:
        _print(account)
    if not account.complete:
        raise typer.Exit(1)


def _facts(account: "Account") -> dict[str, object]:
    return {
        "events": account.events,
        "acknowledged": account.acknowledged,
        "seconds": round(account.seconds, 3),
        "events_per_second": round(account.events_per_second),
        "bad_rows": sum(account.bad.values()),
        "bad_rows_by_reason": dict(account.bad.most_common()),
        "damage": account.damage,
        "failure": account.failure,
        "positions": {str(where.partition): offset for where, offset in sorted(account.positions.items())},
    }


def _print(account: "Account") -> None:
    positions = (f"{where.partition}: {offset:,}" for where, offset in sorted(account.positions.items()))
    print_fields(
        {
            "events": f"{account.events:,}",
            "acknowledged": f"{account.acknowledged:,}",
            "seconds": f"{account.seconds:.2f}",
            "events per second": f"{account.events_per_second:,.0f}",
            "next offset by partition": ", ".join(positions) or "none",
        }
    )
    for row in account.examples:
        note(f"line {row.line}: {row.reason}")
    for reason, count in account.bad.most_common():
        note(f"{count:,} bad rows: {reason}")
    for problem in (account.failure, account.damage):
        if problem:
            note(problem)
