"""`livefactor state`: look at the store on disk, and prove it."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from livefactor.console import note, print_fields, print_json, print_table, progress
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of
from state.errors import FormatMismatchError

if TYPE_CHECKING:
    from state.rocksdb.reader import RocksReader
    from state.store import TopicPartition
    from stream.lineage.verify import Verdict

AGREES, DIFFERS, NOTHING_TO_VERIFY = 0, 1, 3

app = typer.Typer(help="Look at the store: digest, verify, inspect, upgrade.", no_args_is_help=True)


@contextmanager
def reader_of(directory: Path) -> "Iterator[RocksReader]":
    """A view of the store as it stands now; a running learner is not disturbed."""
    from state.rocksdb.reader import RocksReader

    with closing(RocksReader(directory)) as reader:
        reader.catch_up()
        yield reader


@app.command()
def digest(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Print one hexadecimal line that says what the whole state is, whatever its layout on disk.

    Equal lines mean equal factors, histories, counters, windows, event ids and offsets, bit for bit.
    """
    import state.digest

    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        reader.identity()
        value = state.digest.digest(reader)
        head = reader.head()
    if as_json:
        print_json({"digest": value, "batch_seq": head.batch_seq, "version": str(head.version)})
    else:
        print(value)


@app.command()
def verify(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Learn the log again as the schedule recorded, in a scratch directory, and compare digests.

    Starts from the oldest base that is still in the log and names the first micro-batch that differs and
    what could not be verified. Exit code 0: agrees, 1: differs, 3: nothing to verify against. A learner may
    run meanwhile; the state as of the start is verified.
    """
    settings = settings_of(config, overrides)
    from stream.lineage.verify import verify as learn_again_and_compare
    from stream.run import open_source

    with (
        tempfile.TemporaryDirectory(prefix="livefactor-verify-") as scratch,
        closing(open_source(settings)) as source,
        progress("verifying micro-batches", None) as advance,
    ):
        verdict = learn_again_and_compare(settings, source, Path(scratch), advance)
    if as_json:
        print_json(asdict(verdict))
    else:
        _print_verdict(verdict)
    raise typer.Exit(NOTHING_TO_VERIFY if verdict.agrees is None else AGREES if verdict.agrees else DIFFERS)


def _print_verdict(verdict: "Verdict") -> None:
    for span in verdict.spans:
        note(f"not verified: {span}")
    if verdict.agrees is None:
        print("nothing to verify against")
    elif verdict.agrees:
        print(f"agrees: {verdict.batches:,} micro-batches replayed, digest {verdict.expected}")
    else:
        print(f"differs: the state has   {verdict.expected}")
        print(f"         the replay gives {verdict.replayed} after {verdict.batches:,} micro-batches")
        print(f"first difference: micro-batch {verdict.first_difference}")


@app.command()
def inspect(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Show where the store stands: identity, offsets, rows, journal, schedule, outbox, size on disk."""
    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        facts = _facts(reader, settings.state.directory)
    if as_json:
        print_json(facts)
        return
    offsets = facts.pop("offsets")
    identity = facts.pop("identity")
    print_fields({**identity, **facts})
    print_table(("topic", "partition", "next offset"), [tuple(position.values()) for position in offsets])


def _facts(reader: "RocksReader", directory: Path) -> dict[str, Any]:
    from state.codec import ITEM, USER
    from state.rocksdb.directory import Directory
    from state.rocksdb.versions import Versions

    identity, head = reader.identity(), reader.head()
    journal = list(reader.journal(head.flushed_through))
    outbox = [record for _, record in reader.outbox()]
    return {
        "directory": str(directory.resolve()),
        "identity": dict(identity),
        "generation": head.generation,
        "version": str(head.version),
        "batch_seq": head.batch_seq,
        "flushed_through": head.flushed_through,
        "users_flushed": sum(len(rows) for rows in reader.scan(USER)),
        "items_flushed": sum(len(rows) for rows in reader.scan(ITEM)),
        "journal_entries": len(journal),
        "journal_rows": sum(len(rows) for entry in journal for rows in entry.rows),
        "schedule_entries": sum(1 for _ in reader.schedule()),
        "outbox_records": len(outbox),
        "outbox_bytes": sum(record.size for record in outbox),
        "memos": {name: len(value) for name, value in sorted(head.memo.items())},
        "versions": [str(version.id) for version in Versions(Directory(directory)).all()],
        "disk_bytes": sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
        "offsets": position_fields(head.offsets),
    }


def position_fields(positions: "Mapping[TopicPartition, int]") -> list[dict[str, object]]:
    """The next offset of each partition, as JSON has it."""
    return [
        {"topic": topic, "partition": partition, "offset": offset}
        for (topic, partition), offset in sorted(positions.items())
    ]


@app.command()
def upgrade(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Bring the store to this program's format; the learner must be stopped.

    There has been one format so far. If the ranking score weighs other features than it did, its weights
    begin anew and are learnt within some thousand events; everything else stays.
    """
    from state.codec import FORMAT
    from state.rocksdb.upgrade import old_weights
    from stream.lineage.upgrade import begin_weights_anew

    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        try:
            reader.identity()
            outdated = bool(old_weights(reader))
        except FormatMismatchError as error:
            raise FormatMismatchError(
                f"{settings.state.directory} was written in a format that this program (format {FORMAT}) "
                "cannot convert: use the release that wrote it, or relearn into another state.directory"
            ) from error
    if outdated:
        begin_weights_anew(settings)
    if as_json:
        print_json({"format": FORMAT, "changed": outdated})
    elif outdated:
        print("the ranking score weighs other features now: its weights begin anew; everything else is kept")
    else:
        print(f"the store has format {FORMAT}, which is this program's: nothing to do")
