"""Keeps versions while learning goes on, and has the live model compared with the newest."""

import time

import structlog

from state.errors import StoreError
from state.store import Keeping, VersionId
from stream.engine import Engine
from stream.lineage.bases import advance_version, begin_version, version_is_due
from stream.lineage.frozen import FrozenLoader

RETRY_S = 60.0
"""How long nothing is kept after a version could not be."""

log = structlog.get_logger("livefactor.learner")


class Keeper:
    """Those of one engine. A version is due where the last is too old to verify from, or to compare with."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._loader = engine, FrozenLoader(engine.settings)
        self._keeping: Keeping | None = None
        self._patient_until_s = 0.0

    def compare(self) -> None:
        """Load the version that the state descends from; `advance` has the live model compared with it."""
        self._loader.begin(self._engine.store.head().version)

    def advance(self, *, wait: bool = False) -> VersionId | None:
        """Do what there is to do, as far as it goes without waiting, or with it to the end.

        The version with which the live model is compared from now on, if that is another than before.
        """
        if self._keeping is None and (reason := self._due()):
            self._keeping = begin_version(self._engine.settings, self._engine.store, reason)
        if self._keep(wait):
            self.compare()
        loaded = self._loader.take(wait=wait)
        if loaded is None:
            return None
        version, frozen = loaded
        self._engine.monitor.freeze(version.batch_seq, frozen)
        return version

    def close(self) -> None:
        """Wait for the version that is being kept, and for the one that is being loaded."""
        self._keep(wait=True)
        self._loader.close()

    def _due(self) -> str | None:
        """Why a version is to be kept now, if one is."""
        if time.monotonic() < self._patient_until_s:
            return None
        if self._engine.outgrown and not self._loader.loading and not self._loader.failed:
            return "comparison"
        return "schedule" if version_is_due(self._engine) else None

    def _keep(self, wait: bool) -> bool:
        """Go on with the version that is being kept, if one is; True when it is."""
        if self._keeping is None:
            return False
        kept = False
        try:
            kept = advance_version(self._engine, self._keeping, wait=wait)
        except StoreError as error:
            log.warning("version not kept", problem=str(error), retry_s=RETRY_S)
            self._keeping, self._patient_until_s = None, time.monotonic() + RETRY_S
        if kept:
            self._keeping = None
        return kept
