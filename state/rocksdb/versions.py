"""The versions of a store: states that are kept, each a directory with a database and `manifest.json`."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import xxhash

from state.errors import StoreCorruptError
from state.rocksdb.directory import Directory, write_atomically
from state.rocksdb.manifest import RESTORE_ADVICE
from state.store import TopicPartition, Version, VersionId

_CHUNK_BYTES = 1 << 20


class Versions:
    """Those in one directory. They are immutable: databases are opened in copies of them only."""

    def __init__(self, directory: Directory) -> None:
        self._path = directory.versions

    def all(self) -> list[Version]:
        """Every version that is complete, oldest first."""
        found = [_read(path) for path in self._path.glob("[0-9]*/manifest.json")]
        return sorted(found, key=lambda version: version.id.batch_seq)

    def database(self, version: Version) -> Path:
        """Its database."""
        return self._folder(version) / "database"

    def keep(self, version: Version, link: Callable[[Path], None]) -> None:
        """Keep what `link` puts into a directory that it is to create. A version of this name is replaced.

        1. Link the files into a new directory under a temporary name. 2. Write the manifest, with their
        checksums. 3. Rename it.
        """
        unfinished = self._path / f".{version.id.batch_seq}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            link(unfinished / "database")
            checksums = _checksums(unfinished / "database")
            write_atomically(unfinished / "manifest.json", _pack(version, checksums))
            shutil.rmtree(self._folder(version), ignore_errors=True)
            unfinished.rename(self._folder(version))
        except Exception:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def prune(self, kept: int) -> Version | None:
        """Delete all but the newest `kept`; the oldest of these, or None if there was nothing to delete."""
        found = self.all()
        if len(found) <= kept:
            return None
        for version in found[:-kept]:
            shutil.rmtree(self._folder(version))
        return found[-kept]

    def check(self, version: Version) -> None:
        """Compare its files with their checksums. Raises StoreCorruptError for the first that differs."""
        expected = _facts(self._folder(version) / "manifest.json").get("files")
        if expected is None:  # kept before there were checksums
            return
        found = _checksums(self.database(version))
        for name in sorted({*expected, *found}):
            if expected.get(name) != found.get(name):
                raise StoreCorruptError(
                    f"{self.database(version) / name} is not the file that was kept: use another version, "
                    f"or {RESTORE_ADVICE}"
                )

    def _folder(self, version: Version) -> Path:
        return self._path / str(version.id.batch_seq)


def _read(manifest: Path) -> Version:
    facts = _facts(manifest)
    return Version(
        VersionId(facts["generation"], facts["batch_seq"]),
        VersionId.parse(facts["parent"]),
        facts["reason"],
        facts["fingerprint"],
        {TopicPartition(topic, partition): offset for topic, partition, offset in facts["positions"]},
    )


def _facts(manifest: Path) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = orjson.loads(manifest.read_bytes())
    return facts


def _pack(version: Version, checksums: Mapping[str, str]) -> bytes:
    facts = {
        "version": str(version.id.batch_seq),
        "batch_seq": version.id.batch_seq,
        "generation": version.id.generation,
        "parent": str(version.parent),
        "reason": version.reason,
        "fingerprint": version.fingerprint,
        "positions": [(topic, p, offset) for (topic, p), offset in sorted(version.positions.items())],
        "files": checksums,
    }
    return orjson.dumps(facts, option=orjson.OPT_INDENT_2)


def _checksums(database: Path) -> dict[str, str]:
    """XXH3 of each file by name, 32 hexadecimal digits."""
    return {path.name: _checksum(path) for path in sorted(database.iterdir()) if path.is_file()}


def _checksum(path: Path) -> str:
    total = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()
