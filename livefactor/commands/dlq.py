"""`livefactor dlq`: records that could not be learnt."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from livefactor.console import note, print_json, print_table
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of
from livefactor.settings import Settings
from state.errors import WebhookError

if TYPE_CHECKING:
    from livefactor.dead_letters import DeadLetter, DeadLetters
    from state.store import OutboxRecord

FIRST_BYTES = 32
FLUSH_TIMEOUT_MS = 60_000

app = typer.Typer(
    help="Records that could not be learnt: list them, or send them again.", no_args_is_help=True
)

CodeOption = Annotated[
    list[str] | None, typer.Option("--code", help="Only records rejected with this code; may be repeated.")
]


@app.command("list")
def list_letters(
    code: CodeOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show at most so many, the newest.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Show rejected records: where they were, why they were rejected, and their first bytes."""
    settings = settings_of(config, overrides)
    found = _read(settings)
    letters = _of_codes(found.letters, code)
    rows = [_row(letter, letter.source in found.resent) for letter in letters[-limit:]]
    if as_json:
        counts = Counter(letter.code for letter in letters)
        print_json({"count": len(letters), "by_code": counts, "foreign": found.foreign, "letters": rows})
        return
    if rows:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows], title=settings.topics.dlq)
    waiting = sum(letter.source not in found.resent for letter in letters)
    note(f"{len(letters):,} rejected records, {waiting:,} not sent again yet; {found.foreign:,} foreign")


@app.command("replay", hidden=True)
@app.command()
def resend(
    code: CodeOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that have been sent again before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Send rejected records to the topics and webhooks that they were for, untouched, each once.

    Do this after the cause is gone (a setting, a decoder). What is rejected again comes back under new
    coordinates. Records that were sent again are marked in the dead letter topic.
    """
    settings = settings_of(config, overrides)
    found = _read(settings)
    letters = _of_codes(found.letters if again else found.waiting(), code)
    started_s = time.monotonic()
    if letters and not dry_run:
        _send(settings, letters)
    facts = {
        "sent": 0 if dry_run else len(letters),
        "selected": len(letters),
        "sent_before": len(found.letters) - len(found.waiting()),
        "seconds": round(time.monotonic() - started_s, 3),
    }
    if as_json:
        print_json(facts)
    else:
        print(f"{len(letters):,} records {'would be' if dry_run else 'were'} sent again")


def _read(settings: Settings) -> "DeadLetters":
    from livefactor.dead_letters import collect
    from stream.kafka import KafkaSource, require_broker
    from stream.log_reader import scan

    require_broker(settings.kafka)
    with closing(KafkaSource(settings.kafka, "livefactor.dlq", (settings.topics.dlq,))) as source:
        return collect(scan(source))


def _send(settings: Settings, letters: "tuple[DeadLetter, ...]") -> None:
    """Send the originals; mark them when all have arrived, so that none is marked in vain."""
    from stream.cloud_events import webhook_of
    from stream.kafka import KafkaPublisher

    originals = [letter.original() for letter in letters]
    _post(settings, [record for record in originals if webhook_of(record.topic)])
    with KafkaPublisher(settings.kafka) as publisher:
        for outgoing in (
            (record for record in originals if not webhook_of(record.topic)),
            (letter.marker(settings.topics.dlq) for letter in letters),
        ):
            for record in outgoing:
                publisher.publish(record.topic, record.key, record.value, record.headers)
            publisher.flush(FLUSH_TIMEOUT_MS)


def _post(settings: Settings, records: "Sequence[OutboxRecord]") -> None:
    """Post to webhooks. Raises WebhookError for the first that does not arrive in time."""
    from stream.webhooks import WebhookSink

    deadline_s = time.monotonic() + FLUSH_TIMEOUT_MS / 1_000
    waiting = len(records)
    with closing(WebhookSink(settings.drift.webhooks)) as sink:
        for record_id, record in enumerate(records):
            sink.send(record_id, record)
        while waiting:
            left_ms = int(1_000 * (deadline_s - time.monotonic()))
            taken, undelivered = sink.take(max(left_ms, 0))
            for failed in undelivered:
                raise WebhookError(f"{failed.record.topic}: {failed.reason}")
            if left_ms <= 0 and not taken:
                raise WebhookError(f"not within {FLUSH_TIMEOUT_MS // 1_000} s: {sink.problem()}")
            waiting -= len(taken)


def _of_codes(letters: "tuple[DeadLetter, ...]", codes: list[str] | None) -> "tuple[DeadLetter, ...]":
    return tuple(letter for letter in letters if not codes or letter.code in codes)


def _row(letter: "DeadLetter", resent: bool) -> dict[str, object]:
    topic, partition, offset = letter.source
    value = letter.value or b""
    return {
        "source_topic": topic,
        "source_partition": partition,
        "source_offset": offset,
        "stage": letter.stage,
        "code": letter.code,
        "reason": letter.reason,
        "bytes": len(value),
        "first_bytes": value[:FIRST_BYTES].decode("ascii", "backslashreplace"),
        "sent_again": resent,
    }
