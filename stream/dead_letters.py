"""Records that could not be used, as they go to the dead letter topic: untouched, and with the reason."""

from collections.abc import Sequence

from state.store import OutboxRecord
from stream.events import Records, Rejected


def dead_letters(
    records: Records, rejected: Sequence[Rejected], topic: str, version: str
) -> tuple[OutboxRecord, ...]:
    """One outgoing record for each rejected one; its source coordinates tell duplicates apart."""
    return tuple(_dead_letter(records, refusal, topic, version) for refusal in rejected)


def _dead_letter(records: Records, refusal: Rejected, topic: str, version: str) -> OutboxRecord:
    i = refusal.record
    reasons = (
        ("reason", refusal.reason.encode()),
        ("code", refusal.code.encode()),
        ("stage", refusal.stage.encode()),
        ("source-topic", records.topic.encode()),
        ("source-partition", str(int(records.partitions[i])).encode()),
        ("source-offset", str(int(records.offsets[i])).encode()),
        ("source-timestamp-ms", str(int(records.timestamps_ms[i])).encode()),
        ("app-version", version.encode()),
    )
    own = tuple((name, value or b"") for name, value in records.headers[i] or ())
    return OutboxRecord(topic, records.keys[i], records.values[i], own + reasons)
