"""What lies where under `state.directory`, and who owns it.

generation               name of the current database, replaced atomically
learner.lock             held by the one learner, with its process id
generation-000001/       a database
successor/               the next generation in the making; deleted at start
staging/                 files that the database is about to take over; emptied at start
versions/<name>/         states that are kept: see `state.rocksdb.versions`
"""

import fcntl
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from state.errors import StoreError, StoreLockedError, StoreMissingError

LOCK_PATIENCE_S = 0.5
"""How long a lock may be held by someone who only looks, such as `livefactor doctor`."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that holds a store, or will."""

    path: Path

    @property
    def pointer(self) -> Path:
        """The file that names the current database."""
        return self.path / "generation"

    @property
    def lock(self) -> Path:
        """The file that a learner locks."""
        return self.path / "learner.lock"

    @property
    def successor(self) -> Path:
        """A directory of its own in which the next generation is made."""
        return self.path / "successor"

    @property
    def versions(self) -> Path:
        """Where states are kept."""
        return self.path / "versions"

    def database(self) -> Path:
        """The current database. Raises StoreMissingError if there is none."""
        try:
            return self.path / self.pointer.read_text().strip()
        except FileNotFoundError:
            raise StoreMissingError(
                f"{self.path} holds no store: start `livefactor learn` with this `state.directory` first"
            ) from None
        except OSError as error:
            raise unusable(self.path, error) from error

    def generation(self, number: int) -> Path:
        """Where the database of a generation belongs; the first is 1."""
        return self.path / f"generation-{number:06}"

    def point_to(self, database: Path) -> None:
        """Make a database of this directory the current one."""
        write_atomically(self.pointer, database.name.encode() + b"\n")

    def adopt(self, database: Path) -> Path:
        """Copy a database in as the next generation and make it the current one; where it is.

        Files that RocksDB never writes to again are linked, where they lie on the same file system.
        """
        target = self._next_generation()
        shutil.copytree(database, target, copy_function=_link_or_copy)
        self.point_to(target)
        return target

    def succeed(self, database: Path) -> None:
        """Move a database in as the next generation and make it the current one."""
        target = self._next_generation()
        database.rename(target)
        sync_folder(self.path)
        self.point_to(target)
        sync_folder(self.path)

    def delete_others(self, current: Path) -> None:
        """Delete databases of other generations than the current one, and what there is of the next."""
        others = [path for path in self._generations() if path != current]
        for path in others if current.exists() else []:
            shutil.rmtree(path)
        shutil.rmtree(self.successor, ignore_errors=True)

    def _generations(self) -> list[Path]:
        return list(self.path.glob("generation-[0-9]*"))

    def _next_generation(self) -> Path:
        numbers = [int(path.name.removeprefix("generation-")) for path in self._generations()]
        return self.generation(max(numbers, default=0) + 1)

    def empty_staging(self) -> Path:
        """An empty place on the database's file system."""
        staging = self.path / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            staging.mkdir()
        except OSError as error:
            raise unusable(self.path, error) from error
        return staging

    def owner(self) -> str | None:
        """Process id of the learner that owns the directory, None if it does not run.

        Shares the lock for an instant to find out. Raises FileNotFoundError if there never was one.
        """
        with self.lock.open() as lock:
            owner = lock.read().strip() or "?"
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return owner
        return None


class DirectoryLock:
    """Ownership of a store's directory, from before the database is opened until the process ends."""

    def __init__(self, directory: Path) -> None:
        self._path = Directory(directory).lock
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise unusable(directory, error) from error

    def try_acquire(self) -> bool:
        """Take the lock if it is free; the kernel frees it when its holder ends, however it ends."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        return True

    def acquire(self) -> None:
        """Take the lock or raise StoreLockedError."""
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not self.try_acquire():
            if time.monotonic() < deadline:
                time.sleep(LOCK_PATIENCE_S / 10)
                continue
            raise StoreLockedError(
                f"{self._path.parent} is owned by the learner with process id "
                f"{self._path.read_text().strip() or '?'}: stop it, wait for it with "
                "`livefactor learn --standby`, or set another `state.directory`"
            )

    def release(self) -> None:
        """Give it back."""
        os.close(self._file)


def unusable(directory: Path, error: OSError) -> StoreError:
    """What the operating system says about a store's directory, with what to do."""
    return StoreError(
        f"{directory} cannot be used as `state.directory` ({error.strerror}: {error.filename}): "
        "make it a directory that this user can write, or set another `state.directory`"
    )


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_or_copy(source: str, target: str) -> None:
    """Link an SST file, which is never written to again; copy others."""
    if source.endswith(".sst"):
        try:
            os.link(source, target)
        except OSError:
            pass
        else:
            return
    shutil.copyfile(source, target)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a crash leaves the old or the new one."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
