"""Keeping a version while learning goes on."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Protocol

from state.rocksdb.database import named_error
from state.store import Version, VersionId


class Owner(Protocol):
    """The writer whose state is kept."""

    path: Path

    def flush_journal(self) -> None:
        """Write the journal's memtable to a file; may be called in another thread."""
        ...

    def capture(self, version: Version) -> None:
        """Put the present state aside."""
        ...

    def complete(self, version: Version) -> None:
        """Make a version of what was captured; may be called in another thread."""
        ...

    def descend_from(self, version_id: VersionId) -> None:
        """Let the head say so."""
        ...


class RocksKeeping:
    """A version on its way. Implements `state.store.Keeping`.

    1. Aside, write the journal's memtable to a file: the next step would have to.
    2. Capture the state: a checkpoint, while nothing else happens.
    3. Aside, compute the checksums of its files, write the manifest and give the version its name.
    4. Let the head descend from it.
    """

    def __init__(self, owner: Owner, describe: Callable[[], Version], aside: Executor) -> None:
        self._owner, self._describe, self._aside = owner, describe, aside
        self._version: Version | None = None
        self._running: Future[None] = aside.submit(owner.flush_journal)

    def advance(self, *, wait: bool = False) -> bool:
        """Go on as far as it goes without waiting, or with it to the end; True when the version is kept."""
        try:
            while wait or self._running.done():
                self._running.result()
                if self._version is not None:
                    self._owner.descend_from(self._version.id)
                    return True
                self._version = self._describe()
                self._owner.capture(self._version)
                self._running = self._aside.submit(self._owner.complete, self._version)
        except Exception as error:
            raise named_error(error, self._owner.path) from error
        return False
