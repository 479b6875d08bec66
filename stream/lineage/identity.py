"""What a store is made for: facts that its rows depend on, checked whenever it is opened."""

from stream.config import LearnerSettings


def identity(settings: LearnerSettings) -> dict[str, object]:
    """Facts for `state.rocksdb.writer.RocksWriter`."""
    return {
        "model": settings.model.name,
        "rank": settings.learning.rank,
        "algorithm": settings.learning.algorithm,
        "feedback": settings.learning.feedback,
        "history_max": settings.state.history_max,
        "event_ids_kept": settings.decode.event_ids_kept,
    }
