"""A scorer's view of a store that another process writes: a RocksDB secondary instance."""

import tempfile
from pathlib import Path

from rocksdict import AccessType

from state.errors import StoreMissingError
from state.rocksdb.database import RocksView, named_error, open_database
from state.rocksdb.directory import Directory


class RocksReader(RocksView):
    """Implements `state.store.Reader`: the view moves at `catch_up` and at no other time."""

    def __init__(self, directory: Path, database: Path | None = None) -> None:
        """Open a database under `directory`: by default the current generation.

        Raises StoreMissingError if no learner has created it yet.
        """
        path = database or Directory(directory).database()
        if not (path / "CURRENT").exists():
            raise StoreMissingError(f"{path} holds no database yet: start `livefactor learn` first")
        # A secondary keeps nothing but a log of its own doings there, open: so nothing is left of a process
        # that is killed.
        with tempfile.TemporaryDirectory(prefix="livefactor-secondary-", ignore_cleanup_errors=True) as own:
            super().__init__(open_database(path, AccessType.secondary(own)), path)

    def catch_up(self) -> None:
        """See what has been committed since."""
        try:
            self._database.try_catch_up_with_primary()
        except Exception as error:
            raise named_error(error, self.path) from error

    def close(self) -> None:
        """Let go of files."""
        self._release()
