"""`livefactor versions`: the states that are kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livefactor.commands.state import position_fields
from livefactor.console import note, print_fields, print_json, print_table, when
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of

if TYPE_CHECKING:
    from state.rocksdb.versions import Versions
    from state.store import Version

COLUMNS = ("version", "kept", "reason", "parent", "pinned", "size", "measured")

app = typer.Typer(help="The states that are kept: list, show, pin, delete.", no_args_is_help=True)

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
    versions = _versions(settings_of(config, overrides).state.directory)
    version = _find(versions, name)
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
    versions = _versions(settings_of(config, overrides).state.directory)
    version = _find(versions, name)
    versions.delete(version)
    facts = {"version": str(version.id), "deleted": True}
    print_json(facts) if as_json else print_fields(facts)


def _pin(name: str, pinned: bool, as_json: bool, config: Path | None, overrides: list[str] | None) -> None:
    versions = _versions(settings_of(config, overrides).state.directory)
    version = _find(versions, name)
    versions.pin(version, pinned=pinned)
    facts = {"version": str(version.id), "pinned": pinned}
    print_json(facts) if as_json else print_fields(facts)


def _versions(directory: Path) -> "Versions":
    """Those of a store. Raises StoreMissingError if there is no store."""
    from state.rocksdb.directory import Directory
    from state.rocksdb.versions import Versions

    place = Directory(directory)
    place.database()
    return Versions(place)


def _find(versions: "Versions", name: str) -> "Version":
    from state.store import VersionId

    try:
        version_id = VersionId.parse(name)
    except ValueError:
        raise typer.BadParameter(
            f"{name!r}: a version has a name such as g1.500; `livefactor versions list` shows them",
            param_hint="VERSION",
        ) from None
    return versions.find(version_id)


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
