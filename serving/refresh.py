"""Following the store: a copy of the model in memory that moves from one micro-batch to the next.

The invariant: *one request sees one state*. Everything here runs on one thread; `Follower.refresh` is one
critical section without an await, and a request reads user, items and head between two of them.

A replica of another history of the store, as after the start of another learner, is loaded aside, in a
thread, while the old one answers; it is swapped in between two requests.
"""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait

import structlog

from serving.replica import Bounds, Replica, pending_entries
from state.errors import LivefactorError, StoreMissingError
from state.scoring.spec import ScoringSpec
from state.store import SCORING_MEMO, Head, Reader

_log = structlog.get_logger(__name__)

_RETRY_MS = 200
"""Pause after a refresh that failed: a missing store is no reason for a busy loop."""


Load = Callable[[], Replica | None]
"""Builds a replica; None if the view is torn."""


def at_once(load: Load) -> "Future[Replica | None]":
    """Load here and now."""
    done: Future[Replica | None] = Future()
    done.set_result(load())
    return done


class Follower:
    """Keeps a replica as new as the store; survives whatever happens to the store."""

    def __init__(
        self,
        open_reader: Callable[[], Reader],
        incarnation: Callable[[], Hashable],
        bounds: Bounds,
        aside: Callable[[Load], "Future[Replica | None]"] = at_once,
    ) -> None:
        """The first two may raise; when what `incarnation` returns changes, the reader is good no longer.

        `aside` loads a replica while another answers, such as the `submit` of an executor.
        """
        self._open_reader, self._incarnation, self._bounds = open_reader, incarnation, bounds
        self._aside = aside
        self._loading: Future[Replica | None] | None = None
        self._reader: Reader | None = None
        self._reader_incarnation: Hashable = None
        self._refreshed = asyncio.Event()
        self.replica: Replica | None = None
        self.problem = "the store has not been read yet"
        self.torn_count = 0
        self.reload_count = 0

    def refresh(self) -> None:
        """See what has been committed since, whole or not at all; on any error the replica stays as it was.

        A view can be torn: the journal already trimmed while the flush that allowed it is not yet visible, or
        a flush visible before the head it belongs to. Then the replica stays as it is until the next refresh.
        So it does while another is loaded, whose view must hold still.
        """
        if self._loading is not None and not self._loading.done():
            return
        try:
            self._take_loaded()
            reader = self._current_reader()
            reader.catch_up()
            self._follow(reader, reader.head())
        except Exception:
            self._abandon()
            raise

    @property
    def loading(self) -> bool:
        """Whether a replica is being loaded aside."""
        return self._loading is not None

    async def refreshed(self) -> None:
        """Wait for the end of the next refresh, successful or not."""
        await self._refreshed.wait()

    def announce(self) -> None:
        """Wake everyone who waits for a refresh."""
        waiters, self._refreshed = self._refreshed, asyncio.Event()
        waiters.set()

    def close(self) -> None:
        """Let go of the store, once nobody loads from it."""
        if self._loading is not None:
            wait([self._loading])
            self._loading = None
        self._abandon()
        replica, self.replica = self.replica, None
        if replica is not None:
            replica.reader.close()

    def _current_reader(self) -> Reader:
        incarnation = self._incarnation()
        if self._reader is not None and incarnation != self._reader_incarnation:
            self._abandon()
        if self._reader is None:
            self._reader, self._reader_incarnation = self._open_reader(), incarnation
        return self._reader

    def _follow(self, reader: Reader, head: Head) -> None:
        replica = self.replica
        if head.flushed_through > head.batch_seq:
            self.torn_count += 1
            return
        if replica is None or replica.reader is not reader:
            spec, bounds = spec_of(head), self._bounds
            self._loading = self._aside(lambda: _load(reader, spec, bounds, head))
            if self._loading.done():
                self._take_loaded()
            return
        if not _continues(replica.head, head):
            self._reload(reader, head)
            return
        entries = pending_entries(reader, replica.head.batch_seq, head, self._bounds.overlay_bytes_max)
        if entries is not None:
            replica.apply(entries, head)
        elif head.flushed_through > replica.head.batch_seq:
            self._reload(reader, head)
        else:
            self.torn_count += 1

    def _reload(self, reader: Reader, head: Head) -> None:
        """Load anew from the reader of the present replica, which cannot answer from its view any more."""
        self._take(_load(reader, spec_of(head), self._bounds, head))

    def _take_loaded(self) -> None:
        """Swap in the replica that was loaded aside, if one was; raises what kept it from being loaded."""
        loading, self._loading = self._loading, None
        if loading is not None:
            self._take(loading.result())

    def _take(self, replica: Replica | None) -> None:
        if replica is None:
            self.torn_count += 1
            return
        self.reload_count += 1
        old, self.replica = self.replica, replica
        if old is not None and old.reader is not replica.reader:
            old.reader.close()

    def _abandon(self) -> None:
        """Open a new reader next time; the replica keeps its own, for the rows it has not in memory."""
        reader, self._reader = self._reader, None
        if reader is not None and (self.replica is None or self.replica.reader is not reader):
            reader.close()


async def follow(follower: Follower, interval_ms: int) -> None:
    """Refresh for ever. Errors are told once each and never end it."""
    while True:
        before, follower.problem = follower.problem, _refresh(follower)
        if follower.problem and follower.problem != before:
            _log.warning("the scorer cannot follow the store; it keeps trying", problem=follower.problem)
        elif before and not follower.problem:
            _log.info("the scorer follows the store")
        follower.announce()
        failed = follower.problem and not follower.loading
        await asyncio.sleep(max(interval_ms, _RETRY_MS if failed else 0) / 1000)


def _refresh(follower: Follower) -> str:
    """Refresh once; what went wrong in words, or nothing. It is known only once nothing is being loaded."""
    try:
        follower.refresh()
    except LivefactorError as error:
        return str(error)
    except Exception as error:
        _log.exception("refreshing failed in an unexpected way")
        return f"refreshing failed: {type(error).__name__}: {error}"
    if follower.loading:
        return follower.problem
    if follower.replica is None:
        return "the journal of the store does not reach from its last flush to its head yet"
    return ""


def _load(reader: Reader, spec: ScoringSpec, bounds: Bounds, head: Head) -> Replica | None:
    replica = Replica(reader, spec, bounds)
    return replica if replica.load(head) else None


def _continues(old: Head, new: Head) -> bool:
    """Whether the new head lies ahead of the old one in the same history, and rows mean the same."""
    same_meaning = old.memo.get(SCORING_MEMO) == new.memo.get(SCORING_MEMO)
    return same_meaning and old.generation == new.generation and old.batch_seq <= new.batch_seq


def spec_of(head: Head) -> ScoringSpec:
    """How rows become scores, as the run that reached the head says."""
    if SCORING_MEMO not in head.memo:
        raise StoreMissingError(
            "the store does not say yet how it is to be scored: the scorer goes on when `livefactor learn` "
            "of this version has begun to learn"
        )
    return ScoringSpec.restore(head.memo[SCORING_MEMO])
