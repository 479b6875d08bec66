"""Loads a version aside, so that the live model can be compared with it while learning goes on."""

from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from state import kinds
from state.errors import StoreError
from state.model import Model
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader
from state.rocksdb.versions import Versions
from state.store import VersionId
from stream.config import LearnerSettings
from stream.drift.frozen import frozen_of
from stream.walk.values import Frozen

NEEDED = (kinds.ITEMS, kinds.GLOBALS, kinds.NEIGHBOURS)
"""The kinds that a frozen model is made of."""

log = structlog.get_logger("livefactor.learner")


class FrozenLoader:
    """Loads one version at a time, in a thread.

    `failed`: the last one could not be used.
    """

    def __init__(self, settings: LearnerSettings) -> None:
        self._settings, self.failed = settings, False
        self._thread = ThreadPoolExecutor(1, "frozen")
        self._loading: tuple[VersionId, Future[Frozen]] | None = None

    @property
    def loading(self) -> bool:
        """Whether a version is on its way, or has come and was not taken."""
        return self._loading is not None

    def begin(self, version: VersionId) -> None:
        """Load a version, unless it is the empty state; it takes the place of one that is on its way."""
        if version.batch_seq and self._settings.drift.enabled:
            self.failed = False
            self._loading = version, self._thread.submit(load_frozen, self._settings, version)

    def take(self, *, wait: bool = False) -> tuple[VersionId, Frozen] | None:
        """The version that has been loaded, once; None while there is none, or where it cannot be used."""
        if self._loading is None or not (wait or self._loading[1].done()):
            return None
        (version, loaded), self._loading = self._loading, None
        try:
            return version, loaded.result()
        except (StoreError, OSError) as error:
            self.failed = True
            log.warning("not compared with a version", version=str(version), problem=str(error))
            return None

    def close(self) -> None:
        """Wait for what is being loaded."""
        self._thread.shutdown(cancel_futures=True)


def load_frozen(settings: LearnerSettings, version: VersionId) -> Frozen:
    """The items of a version. Raises StoreError if it is gone, damaged or of another shape."""
    state, learning = settings.state, settings.learning
    versions = Versions(Directory(state.directory))
    reader = RocksReader(state.directory, versions.database(versions.find(version)))
    try:
        rank = reader.identity().get("rank")
        if rank != learning.rank:
            raise StoreError(f"version {version} has rank {rank}, the model {learning.rank}")
        model = Model(learning.rank, state.items_max + 1, state.items_max, state.history_max, 0)
        model.load(reader, [kind.code for kind in NEEDED])
        codes = {code for kind in NEEDED for code in kind.codes}
        for entry in reader.journal(reader.head().flushed_through):
            model.follow(entry, codes)
        return frozen_of(model, settings)
    finally:
        reader.close()
