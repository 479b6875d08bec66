"""What a store of an earlier program needs before this one can go on with it."""

from contextlib import closing

from state.rocksdb.upgrade import WithoutOldWeights
from state.store import Commit
from stream.config import LearnerSettings
from stream.engine import Engine
from stream.lineage.identity import identity


def begin_weights_anew(settings: LearnerSettings) -> None:
    """Give the ranking score of a store its first weights where those that it has are of another length.

    A micro-batch without events writes them, and a flush puts all journal entries with the old ones behind
    it. Killed in between it may be run again. Raises StoreLockedError while a learner runs.
    """
    with closing(WithoutOldWeights(settings.state, identity(settings))) as store:
        engine = Engine(settings, store)
        batch_seq = store.head().batch_seq + 1
        store.commit(Commit(batch_seq, (engine.model.globals.changed_since(0),)))
        engine.flush()
