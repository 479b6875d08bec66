"""The versions of a store: states that are kept, each in a directory of its own.

versions/<name>/database/        a database, most of whose files are linked to the live one's
versions/<name>/manifest.json    a `Version`, and the SHA-256 of each file
versions/<name>/pinned           there if the version is kept until somebody says otherwise
versions/.<name>                 not complete yet, or being deleted; emptied when a learner starts

An imported version is of generation 0, which no database here has: it belongs to no history of this store.
"""

import hashlib
import mmap
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from state.errors import StoreCorruptError, StoreError, VersionMissingError
from state.rocksdb.database import named_error
from state.rocksdb.directory import Directory, write_atomically
from state.rocksdb.manifest import RESTORE_ADVICE
from state.store import TopicPartition, Version, VersionId

DATABASE, MANIFEST, PIN = "database", "manifest.json", "pinned"
MANIFEST_BYTES_MAX = 4 << 20


class Versions:
    """Those in one directory. They are immutable: databases are opened in copies of them only."""

    def __init__(self, directory: Directory) -> None:
        self._path = directory.versions

    def all(self) -> list[Version]:
        """Every version that is complete and whose manifest can be read, oldest first."""
        found = [version for path in self._folders() if (version := _read(path / MANIFEST)) is not None]
        return sorted(found, key=lambda version: version.id.batch_seq)

    def unreadable(self) -> list[Path]:
        """Folders beside them that nobody can make out."""
        return [path for path in self._folders() if _read(path / MANIFEST) is None]

    def find(self, version_id: VersionId) -> Version:
        """The version of this name. Raises VersionMissingError, which says which there are."""
        known = {version.id: version for version in self.all()}
        if version_id not in known:
            names = ", ".join(map(str, known)) or "none yet"
            raise VersionMissingError(f"version {version_id} is not kept in {self._path}: there are {names}")
        return known[version_id]

    def database(self, version: Version) -> Path:
        """Its database."""
        return self._folder(version) / DATABASE

    def size_bytes(self, version: Version) -> int:
        """What its files hold; those that are linked to the live database take no room of their own."""
        return sum(path.stat().st_size for path in self._folder(version).rglob("*") if path.is_file())

    def checksums(self, version: Version) -> Mapping[str, str] | None:
        """SHA-256 by name of the files that were kept; None of a version from before there were any."""
        return _expected(self._folder(version))

    def capture(self, version: Version, link: Callable[[Path], object]) -> None:
        """Have `link` put the state into a directory that it is to create; `complete` makes it a version."""
        folder = self._unfinished(version)
        with _nothing_left_of(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            link(folder / DATABASE)

    def complete(self, version: Version) -> None:
        """Write the manifest, with checksums, and give the version its name; replaces one that has it."""
        folder = self._unfinished(version)
        with _nothing_left_of(folder):
            checksums = _checksums(folder / DATABASE)
            write_atomically(folder / MANIFEST, _pack(version, checksums))
            if self.pinned(version):
                (folder / PIN).touch()
            self._remove(version)
            folder.rename(self._path / str(version.id))

    def _unfinished(self, version: Version) -> Path:
        """Where a version lies that is not complete."""
        return self._path / f".{version.id}"

    def export(self, version: Version, to: Path) -> None:
        """Copy a version to a directory that does not exist yet, and compare the copy with the checksums."""
        if to.exists():
            raise StoreError(f"{to} exists: export to a directory that does not")
        self.check(version)
        copy = to.with_name(f".{to.name}.part")
        with _nothing_left_of(copy):
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir(parents=True)
            shutil.copyfile(self._folder(version) / MANIFEST, copy / MANIFEST)
            shutil.copytree(self.database(version), copy / DATABASE)
            _check(copy)
            copy.rename(to)

    def adopt(self, exported: Path, check: Callable[[Path], None]) -> Version:
        """Copy in what `export` has written, under the next free name of generation 0, and pin it.

        `check` is to raise if the database, whose path it gets, does not fit this store.
        """
        found = _read(exported / MANIFEST)
        if found is None or not _expected(exported):
            raise StoreError(
                f"{exported} is no exported version: it has no {MANIFEST} with checksums that can be read; "
                "name a directory that `livefactor versions export` has written"
            )
        _check(exported)
        check(exported / DATABASE)
        batch_seq = found.id.batch_seq
        while (self._path / str(VersionId(0, batch_seq))).exists():
            batch_seq += 1
        version = replace(
            found,
            id=VersionId(0, batch_seq),
            parent=VersionId(0, 0),
            reason=f"imported {found.id}: {found.reason}",
        )
        self.capture(version, lambda path: shutil.copytree(exported / DATABASE, path))
        self.complete(version)
        self.pin(version, pinned=True)
        return version

    def pinned(self, version: Version) -> bool:
        """Whether it is kept until somebody says otherwise."""
        return self._pin(version).exists()

    def pin(self, version: Version, *, pinned: bool) -> None:
        """Keep it until somebody says otherwise, or no longer than others."""
        if pinned:
            self._pin(version).touch()
        else:
            self._pin(version).unlink(missing_ok=True)

    def delete(self, version: Version) -> None:
        """Delete a version. Raises StoreError if it is pinned."""
        if self.pinned(version):
            raise StoreError(
                f"version {version.id} is pinned: `livefactor versions unpin {version.id}` first"
            )
        self._remove(version)

    def prune(self, kept: int) -> Version | None:
        """Delete all but the newest `kept` of this store and the pinned.

        The oldest of the newest, None if there were no older ones.
        """
        found = self.all()
        own = [version for version in found if not version.imported]
        newest = own[-kept:]
        for version in found:
            if version not in newest and not self.pinned(version):
                self._remove(version)
        return newest[0] if len(own) > kept else None

    def clear_unfinished(self) -> None:
        """Delete what a crash has left of a version that was being kept or deleted."""
        for path in self._path.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)

    def check(self, version: Version) -> None:
        """Compare its files with their checksums. Raises StoreCorruptError for the first that differs."""
        _check(self._folder(version))

    def _folders(self) -> list[Path]:
        return [path for path in self._path.glob("[!.]*") if path.is_dir()]

    def _folder(self, version: Version) -> Path:
        """Where it lies; earlier programs left the generation out of the name."""
        named = self._path / str(version.id)
        return named if named.exists() else self._path / str(version.id.batch_seq)

    def _pin(self, version: Version) -> Path:
        return self._folder(version) / PIN

    def _remove(self, version: Version) -> None:
        """Take it away under its name at once, so that nobody finds half of it."""
        doomed = self._path / f".{version.id}.deleted"
        shutil.rmtree(doomed, ignore_errors=True)
        try:
            self._folder(version).rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed)


@contextmanager
def _nothing_left_of(folder: Path) -> Iterator[None]:
    """Delete a folder that could not be finished, and say why as a StoreError."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise named_error(error, folder.parent) from error
        raise


def _read(manifest: Path) -> Version | None:
    """The version that a manifest describes; None if it cannot be read."""
    try:
        facts = _facts(manifest)
        return Version(
            VersionId(facts["generation"], facts["batch_seq"]),
            VersionId.parse(facts["parent"]),
            facts["reason"],
            facts.get("created_ms", 0),
            facts["fingerprint"],
            {TopicPartition(topic, partition): offset for topic, partition, offset in facts["positions"]},
            facts.get("settings", {}),
            facts.get("metrics", {}),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _check(folder: Path) -> None:
    """Compare the files of a version with its checksums: see `Versions.check`."""
    expected = _expected(folder)
    if expected is None:
        return
    found = _checksums(folder / DATABASE)
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise StoreCorruptError(
                f"{folder / DATABASE / name} is not the file that was kept: use another version, or "
                f"{RESTORE_ADVICE}"
            )


def _expected(folder: Path) -> Mapping[str, str] | None:
    """The checksums in its manifest, None where there are none."""
    stored: Mapping[str, str] | None = _facts(folder / MANIFEST).get("sha256")
    return stored


def _facts(manifest: Path) -> Mapping[str, Any]:
    if manifest.stat().st_size > MANIFEST_BYTES_MAX:
        raise ValueError(f"{manifest} is larger than {MANIFEST_BYTES_MAX:,} bytes")
    facts: Mapping[str, Any] = orjson.loads(manifest.read_bytes())
    return facts


def _pack(version: Version, checksums: Mapping[str, str]) -> bytes:
    facts = {
        "version": str(version.id),
        "batch_seq": version.id.batch_seq,
        "generation": version.id.generation,
        "parent": str(version.parent),
        "reason": version.reason,
        "created_ms": version.created_ms,
        "fingerprint": version.fingerprint,
        "positions": [(topic, p, offset) for (topic, p), offset in sorted(version.positions.items())],
        "settings": version.settings,
        "metrics": version.metrics,
        "sha256": checksums,
    }
    return orjson.dumps(facts, option=orjson.OPT_INDENT_2)


def _checksums(database: Path) -> dict[str, str]:
    """SHA-256 of each file by name, 64 hexadecimal digits."""
    return {path.name: _checksum(path) for path in sorted(database.iterdir()) if path.is_file()}


def _checksum(path: Path) -> str:
    """Of a whole file in one call, which lets other threads run: by chunks it waits for them at each."""
    if not path.stat().st_size:
        return hashlib.sha256().hexdigest()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()
