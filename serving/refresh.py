"""Following the store: a copy of the model in memory that moves from one micro-batch to the next.

The invariant: *one request sees one state*. Everything here runs on one thread; `Follower.refresh` is one
critical section without an await, and a request reads user, items and head between two of them.

A replica of another history of the store, as after the start of another learner, is loaded aside, in a
thread, while the old one answers; it is swapped in between two requests.

Items are dense in memory. Of the users, those changed since the last flush are (the *overlay*); any
other user is one row away in the row family, which the reader's view holds still until the next refresh.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from itertools import islice

import numpy as np
import structlog

from serving.ranker import Blended, Catalogue, User, recommend, score
from state import kinds
from state.arrays import I64
from state.errors import LivefactorError, StoreError, StoreMissingError
from state.factors import Users
from state.kernels import spans
from state.memory import MemoryStore
from state.model import Model
from state.neighbour_rows import pack_steps
from state.rocksdb.database import id_keys
from state.scoring import blend, popularity
from state.scoring.spec import ScoringSpec
from state.store import SCORING_MEMO, Commit, Head, JournalEntry, Reader, Rows

_log = structlog.get_logger(__name__)

SCALARS_EVENTS, SCALARS_ITEMS = 100, 20
"""The popularity part of all scores is computed anew after so many events, or one for so many items."""

_RETRY_MS = 200
"""Pause after a refresh that failed: a missing store is no reason for a busy loop."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a store may be in memory; see the settings of the same names."""

    rows_max: int
    items_max: int
    overlay_bytes_max: int


class Replica:
    """The model as of `head`, through one reader."""

    def __init__(self, reader: Reader, spec: ScoringSpec, bounds: Bounds) -> None:
        self.reader, self.spec = reader, spec
        self._overlay_bytes_max = bounds.overlay_bytes_max
        self._model = Model(spec.rank, bounds.rows_max, bounds.items_max, spec.history_max, event_ids_kept=0)
        self._one_user = Users(spec.rank, 1, spec.history_max)
        served = [kind for kind in kinds.KINDS if kind.served(spec)]
        self._resident = [kind.code for kind in served if kind.resident]
        self._followed = {code for kind in served for code in kind.codes}
        self._place = np.full(bounds.items_max if spec.blends else 0, -1, np.int32)
        self._scalars = np.zeros((2, 0), np.float64)
        self._scalars_at = self._scalars_through = 0
        self._dropped_through = 0

    def load(self, head: Head) -> bool:
        """Read what is resident; False if the view's journal does not go from its flush to its head."""
        entries = _pending(self.reader, head.flushed_through, head, self._overlay_bytes_max)
        if entries is None:
            return False
        for code in self._resident:
            for rows in self.reader.scan(code):
                self._model.apply(rows)
        self.apply(entries, head)
        return True

    def apply(self, entries: Sequence[JournalEntry], head: Head) -> None:
        """Move on to `head`; `entries` hold every change since, as far as the row family does not."""
        for entry in entries:
            self._model.follow(entry, self._followed)
        if head.flushed_through > self._dropped_through:
            self._drop_flushed(head.flushed_through)
        self.head = head
        self.catalogue = self._catalogue()

    @property
    def overlay_users(self) -> int:
        """Users held in memory."""
        return self._model.users.size

    def user(self, user_id: bytes) -> User | None:
        """A user's row, or None if there is none."""
        slot = int(self._model.users.find_ids([user_id])[0])
        return _user(self._model.users, slot) if slot >= 0 else self._stored_user(user_id)

    def items(self, item_ids: Sequence[bytes]) -> I64:
        """Ordinals of items, -1 for unknown ones."""
        return self._model.items.find_ids(item_ids)

    def item_ids(self, ordinals: I64) -> list[str]:
        """Ids of items."""
        return [item_id.decode() for item_id in self._model.items.ids(ordinals)]

    def _stored_user(self, user_id: bytes) -> User | None:
        ordinals = self.reader.lookup(kinds.USERS.code, [user_id])
        rows = self.reader.load(kinds.USERS.code, ordinals[ordinals >= 0])
        return self._take_one(rows) if len(rows) else None

    def _take_one(self, rows: Rows) -> User:
        slots = self._one_user.apply(rows)
        user = _user(self._one_user, int(slots[0]))
        self._one_user.evict(slots)
        return user

    def _drop_flushed(self, flushed_through: int) -> None:
        users = self._model.users
        slots = users.slots
        users.evict(slots[users.changed_at[slots] <= flushed_through])
        self._dropped_through = flushed_through

    def _catalogue(self) -> Catalogue:
        items, n, spec = self._model.items, self._model.items.size, self.spec
        return Catalogue(
            items.vectors[:n],
            items.bias[:n],
            items.counts[:n],
            items.counted_at[:n],
            self._model.clock,
            float(self._model.globals["mean"][0]) if spec.explicit else None,
            self._blended(n) if spec.blends else None,
        )

    def _blended(self, count: int) -> Blended:
        model, clock = self._model, self._model.clock
        catalogue = blend.Catalogue(
            model.items.vectors[:count],
            model.items.inverse_norms[:count],
            model.items.counts[:count],
            model.items.counted_at[:count],
            model.neighbours.lists,
        )
        weights = model.globals["weights"].copy()
        of_popularity = weights[blend.POPULARITY : blend.NEIGHBOURS], model.globals["newcomer_weights"]
        due_events = max(SCALARS_EVENTS, count // SCALARS_ITEMS)
        if clock - self._scalars_at >= due_events or clock < self._scalars_at or not self._scalars.size:
            self._scalars, self._scalars_at = np.empty((2, count), np.float64), clock
            changed = np.arange(count)
        else:
            changed = np.flatnonzero(catalogue.counted_at > self._scalars_through)
            grown = np.empty((2, count - self._scalars.shape[1]), np.float64)
            self._scalars = np.concatenate([self._scalars, grown], axis=1)
        for kept, scalars in zip(of_popularity, self._scalars, strict=True):
            popularity.scalars_of(catalogue.counts, catalogue.counted_at, changed, clock, kept, scalars)
        self._scalars_through = clock
        of_known, of_newcomers = self._scalars
        return Blended(catalogue, weights, of_known, of_newcomers, self.spec.repeats, self._place)


def warm_up() -> None:
    """Have everything compiled that following and answering need, so that no request waits for it.

    What a store will mean is not known yet: so one user and one item are loaded and asked about in every way,
    from the journal and from the row family.
    """
    for explicit, blends in ((True, False), (False, False), (False, True)):
        _warm_up(ScoringSpec(rank=2, history_max=2, explicit=explicit, blends=blends, repeats=False))


def _warm_up(spec: ScoringSpec) -> None:
    model = Model(spec.rank, 2, 1, spec.history_max, event_ids_kept=0)
    one, name = np.zeros(1, np.int64), b"\x00"
    for table in (model.users, model.items):
        table.add(*spans([name]), one)
        table.vectors[:] = 1.0
    model.users.append(one, one, np.ones(1, np.float32))
    model.globals["counts"][:] = 1
    step = pack_steps(one, one.astype(np.uint32), *np.ones((2, 1), np.int8))
    model.neighbours.apply_steps(step, 1)
    model.neighbours.mark(step)
    rows = model.pack(one, one, model.globals)
    id_keys(kinds.USERS.code, [name])
    store = MemoryStore()
    store.commit(Commit(1, rows))
    flush = store.begin_flush(model.changed_since(0), {kinds.USERS.code: 0, kinds.ITEMS.code: 0}, 1)
    for flushed in (False, True):
        while flushed and not flush.advance(1):
            pass
        replica = Replica(store, spec, Bounds(rows_max=2, items_max=1, overlay_bytes_max=1 << 20))
        replica.load(store.head())
        for someone in (None, replica.user(name)):
            recommend(replica.catalogue, someone, 1, include_seen=True, now_ms=0)
            score(replica.catalogue, someone, replica.items([name]), now_ms=0)


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
            spec, bounds = _spec(head), self._bounds
            self._loading = self._aside(lambda: _load(reader, spec, bounds, head))
            if self._loading.done():
                self._take_loaded()
            return
        if not _continues(replica.head, head):
            self._reload(reader, head)
            return
        entries = _pending(reader, replica.head.batch_seq, head, self._bounds.overlay_bytes_max)
        if entries is not None:
            replica.apply(entries, head)
        elif head.flushed_through > replica.head.batch_seq:
            self._reload(reader, head)
        else:
            self.torn_count += 1

    def _reload(self, reader: Reader, head: Head) -> None:
        """Load anew from the reader of the present replica, which cannot answer from its view any more."""
        self._take(_load(reader, _spec(head), self._bounds, head))

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


def _spec(head: Head) -> ScoringSpec:
    """How rows become scores, as the run that reached the head says."""
    if SCORING_MEMO not in head.memo:
        raise StoreMissingError(
            "the store does not say yet how it is to be scored: the scorer goes on when `livefactor learn` "
            "of this version has begun to learn"
        )
    return ScoringSpec.restore(head.memo[SCORING_MEMO])


def _pending(reader: Reader, after: int, head: Head, bytes_max: int) -> list[JournalEntry] | None:
    """Journal entries after `after` through the head, or None if one is missing."""
    entries: list[JournalEntry] = []
    size = 0
    if after < head.batch_seq:
        for entry in islice(reader.journal(after), head.batch_seq - after):
            entries.append(entry)
            size += sum(rows.data.nbytes for rows in entry.rows)
            if size > bytes_max:
                raise StoreError(
                    f"the journal holds more after micro-batch {after} than the {bytes_max:,} bytes that "
                    "`serving.overlay_bytes_max` allows: raise it above `state.journal_bytes_max`, or "
                    "see why the learner does not flush"
                )
    return entries if after + len(entries) >= head.batch_seq else None


def _user(table: Users, slot: int) -> User:
    others, strengths = table.history(slot)
    return User(
        table.vectors[slot].copy(),
        float(table.bias[slot]),
        others.copy(),
        strengths.copy(),
        int(table.last_event_ms[slot]),
    )
