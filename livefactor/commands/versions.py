"""`livefactor versions`: the states that are kept."""

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livefactor.commands.state import position_fields, reader_of
from livefactor.console import note, print_facts, print_fields, print_json, print_table, when
from livefactor.options import (
    ConfigOption,
    CutoffOption,
    JsonOption,
    ReasonOption,
    SetOption,
    WaitOption,
    settings_of,
)

if TYPE_CHECKING:
    from protos.events_pb2 import OffsetRange
    from state.rocksdb.versions import Versions
    from state.store import Version, VersionId

COLUMNS = ("version", "kept", "reason", "parent", "pinned", "size", "measured")

app = typer.Typer(
    help="The states that are kept: list, show, diff, pin, rollback, delete, export, import.",
    no_args_is_help=True,
)

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Its name, such as g1.500.")]


@app.command("list")
def list_versions(
    as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None
) -> None:
    """List the versions that are kept, oldest first; needs no learner."""
    versions = _versions(settings_of(config, overrides).state.directory)
    found = versions.all()
    for path in versions.unreadable():
        note(f"no version: {path} has no manifest that can be read; if it is of no use to you, delete it")
    if as_json:
        print_json([_fields(version, versions) for version in found])
        return
    rows = [
        (
            version.id,
            when(version.created_ms),
            version.reason,
            version.parent,
            "yes" if versions.pinned(version) else "",
            f"{versions.size_bytes(version) / 1e6:,.1f} MB",
            _measured(version.metrics),
        )
        for version in found
    ]
    print_table(COLUMNS, rows)


@app.command()
def show(
    name: VersionArgument,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Show one version: where it stands, what it was made with, what was measured, and its files."""
    versions, version = _open(name, config, overrides)
    facts = {
        **_fields(version, versions),
        "fingerprint": version.fingerprint,
        "size_bytes": versions.size_bytes(version),
        "settings": dict(version.settings),
        "sha256": dict(versions.checksums(version) or {}),
    }
    if as_json:
        print_json(facts)
        return
    positions, files = facts.pop("positions"), facts.pop("sha256")
    print_fields(facts)
    print_table(("topic", "partition", "next offset"), [tuple(position.values()) for position in positions])
    print_table(("file", "SHA-256"), list(files.items()))


@app.command()
def pin(
    name: VersionArgument,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Keep a version until it is unpinned, however many newer ones there are."""
    _pin(name, True, as_json, config, overrides)


@app.command()
def unpin(
    name: VersionArgument,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Keep a version no longer than others: the newest `state.versions_kept`."""
    _pin(name, False, as_json, config, overrides)


@app.command()
def delete(
    name: VersionArgument,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Delete a version that is not pinned. The live state stays as it is."""
    versions, version = _open(name, config, overrides)
    versions.delete(version)
    facts = {"version": str(version.id), "deleted": True}
    print_facts(facts, as_json)


@app.command()
def diff(
    name: VersionArgument,
    other: Annotated[
        str | None, typer.Argument(metavar="OTHER", help="A later version; the live state by default.")
    ] = None,
    users: Annotated[
        int,
        typer.Option("--users", min=1, max=100_000, metavar="N", help="Users compared, at most."),
    ] = 1_000,
    k: CutoffOption = 10,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Show what moved between two states: norms, weights, what users are offered, and what was measured.

    Both are in memory meanwhile. A learner may run; the live state as of the call is compared.
    """
    from livefactor.version_diff import diff as compare
    from livefactor.version_diff import load
    from state.rocksdb.reader import RocksReader
    from stream.lineage.bases import metrics_of

    settings = settings_of(config, overrides)
    directory = settings.state.directory
    versions = _versions(directory)
    before = _find(versions, name)
    after = None if other is None else _find(versions, other)
    with (
        closing(RocksReader(directory, versions.database(before))) as earlier,
        closing(RocksReader(directory, None if after is None else versions.database(after))) as later,
    ):
        moved = compare(load(settings, earlier), load(settings, later), users, k)
        measured = before.metrics, metrics_of(settings, later.head()) if after is None else after.metrics
    if as_json:
        print_json({"before": name, "after": other, **moved, "metrics": measured})
    else:
        _print_diff(moved, measured)


@app.command()
def rollback(
    name: Annotated[
        str,
        typer.Argument(
            metavar="VERSION",
            help="Such as g1.500; with --exclude or --event by default the newest from before that.",
        ),
    ] = "",
    replay: Annotated[
        bool, typer.Option("--replay", help="Learn again, from the log, what came after the version.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="TOPIC:PARTITION:FROM-TO",
            help="Replay, but leave out for good the records from offset FROM up to, without it, TO; may be "
            "repeated.",
        ),
    ] = None,
    event: Annotated[
        str,
        typer.Option(
            "--event",
            metavar="ID",
            help="Replay, but leave out for good what came since this drift event says that it began.",
        ),
    ] = "",
    reason: ReasonOption = "",
    timeout_s: WaitOption = 120.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Go on from a version, as if nothing had been learnt since; the running learner does it.

    Events up to now are not learnt again, unless that is asked for, and a pause ends. What is left is kept as
    a version itself.
    """
    from livefactor.commands.control import order
    from protos.events_pb2 import COMMAND_ACTION_ROLLBACK, Command

    if not (name or exclude or event):
        raise typer.BadParameter("name one, or say what is to be left out", param_hint="VERSION")
    command = Command(
        action=COMMAND_ACTION_ROLLBACK,
        reason=reason,
        version=str(_parse(name)) if name else "",
        replay=replay,
        exclude=[_parse_range(each) for each in exclude or ()],
        drift_event_id=event,
    )
    order(settings_of(config, overrides), command, timeout_s, as_json)


@app.command()
def export(
    name: VersionArgument,
    to: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where to; must not exist.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Copy a version, with its manifest, to a directory of its own."""
    versions, version = _open(name, config, overrides)
    versions.export(version, to)
    facts = {"version": str(version.id), "directory": str(to), "size_bytes": versions.size_bytes(version)}
    print_facts(facts, as_json)


@app.command("import")
def import_version(
    exported: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="What `export` has written.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Copy in a version that was exported, also from another store of the same model; it is pinned.

    Its name begins with g0: it belongs to no history of this store, and `state verify` does not start there.
    """
    from state.identity import mismatches
    from state.rocksdb.reader import RocksReader

    settings = settings_of(config, overrides)
    directory = settings.state.directory
    versions = _versions(directory)
    with reader_of(directory) as reader:
        wanted = reader.identity()

    def check(database: Path) -> None:
        with closing(RocksReader(directory, database)) as foreign:
            for error in mismatches(database, foreign.identity(), wanted, "import it where it fits"):
                raise error

    version = versions.adopt(exported, check)
    facts = {"version": str(version.id), "pinned": True}
    print_facts(facts, as_json)


def _print_diff(moved: dict[str, Any], measured: Sequence[Mapping[str, Any]]) -> None:
    top_k = moved["top_k"]
    print_fields(
        {
            "events": f"{moved['events']:+,}",
            "users compared": moved["users_compared"],
            "items compared": moved["items_compared"],
            f"of the first {top_k['k']} offered, in both": top_k["shared"],
            "users who are offered the same": top_k["unchanged"],
            "users moved by": moved["moved"]["users"],
            "items moved by": moved["moved"]["items"],
        }
    )
    rows: list[tuple[object, ...]] = [(name, *moved[name]) for name in ("users", "items")]
    rows += [(f"norm of {name}", *moved["norms"][name]) for name in ("users", "items")]
    rows += [("measured", *map(_measured, measured))]
    for group, named in moved["weights"].items():
        rows += [(f"{group}: {name}", *pair) for name, pair in named.items()]
    print_table(("", "before", "after"), rows)


def _pin(name: str, pinned: bool, as_json: bool, config: Path | None, overrides: list[str] | None) -> None:
    versions, version = _open(name, config, overrides)
    versions.pin(version, pinned=pinned)
    facts = {"version": str(version.id), "pinned": pinned}
    print_facts(facts, as_json)


def _open(name: str, config: Path | None, overrides: list[str] | None) -> "tuple[Versions, Version]":
    """The version of that name, and those it is kept with."""
    versions = _versions(settings_of(config, overrides).state.directory)
    return versions, _find(versions, name)


def _versions(directory: Path) -> "Versions":
    """Those of a store. Raises StoreMissingError if there is no store."""
    from state.rocksdb.directory import Directory
    from state.rocksdb.versions import Versions

    place = Directory(directory)
    place.database()
    return Versions(place)


def _find(versions: "Versions", name: str) -> "Version":
    return versions.find(_parse(name))


def _parse(name: str) -> "VersionId":
    from state.store import VersionId

    try:
        return VersionId.parse(name)
    except ValueError:
        raise typer.BadParameter(
            f"{name!r}: a version has a name such as g1.500; `livefactor versions list` shows them",
            param_hint="VERSION",
        ) from None


def _parse_range(text: str) -> "OffsetRange":
    from protos.events_pb2 import OffsetRange

    found = re.fullmatch(r"([^:]+):(\d{1,9}):(\d{1,18})-(\d{1,18})", text, re.ASCII)
    if found is None:
        raise typer.BadParameter(
            f"{text!r}: say it as in livefactor.interactions.v1:0:1000-2000, which leaves out the offsets "
            "1000 to 1999 of partition 0",
            param_hint="--exclude",
        )
    topic, partition, first, following = found.groups()
    return OffsetRange(topic=topic, partition=int(partition), first=int(first), next=int(following))


def _fields(version: "Version", versions: "Versions") -> dict[str, Any]:
    """As `list --json` has it; the empty state is no parent."""
    return {
        "version": str(version.id),
        "created_ms": version.created_ms,
        "reason": version.reason,
        "parent": str(version.parent) if version.parent.batch_seq else None,
        "pinned": versions.pinned(version),
        "positions": position_fields(version.positions),
        "metrics": dict(version.metrics),
    }


def _measured(metrics: Mapping[str, Any]) -> str:
    """What was measured of the live model, in a few words."""
    words = []
    if ranked := metrics.get("live"):
        words += [f"HR@{metrics['k']} {ranked['hr']:.3f}", f"NDCG {ranked['ndcg']:.3f}"]
    if metrics.get("rated"):
        words.append(f"RMSE {metrics['rmse']:.3f}")
    return ", ".join(words)
