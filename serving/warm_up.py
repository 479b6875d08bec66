"""Compiling what following and answering need, before anyone asks."""

import numpy as np

from serving.ranker import explain, recommend, score
from serving.replica import Bounds, Replica
from state import kinds
from state.codec import id_keys
from state.kernels import spans
from state.memory import MemoryStore
from state.model import Model
from state.neighbour_rows import pack_steps
from state.scoring.spec import ScoringSpec
from state.store import Commit


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
        table.changed_at[:] = 1
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
            explain(replica.catalogue, someone, int(replica.items([name])[0]), now_ms=0)
