"""Records that could not be used, as they go to the dead letter topic: untouched, and with the reason."""

from collections.abc import Sequence

from state.store import OutboxRecord
from stream.events import Records, Rejected

HEADERS = (
    "reason",
    "code",
    "stage",
    "source-topic",
    "source-partition",
    "source-offset",
    "source-timestamp-ms",
    "app-version",
)
"""What is added behind a record's own headers, in this order."""


def dead_letters(
    records: Records, rejected: Sequence[Rejected], topic: str, version: str
) -> tuple[OutboxRecord, ...]:
    """One outgoing record for each rejected one; its source coordinates tell duplicates apart."""
    return tuple(_dead_letter(records, refusal, topic, version) for refusal in rejected)


def undelivered(record: OutboxRecord, record_id: int, reason: str, topic: str, version: str) -> OutboxRecord:
    """The letter about an outgoing record that a webhook did not take; the id stands for its offset."""
    facts = (reason, "webhook_failed", "webhook", record.topic, "0", str(record_id), "0", version)
    return _letter(topic, record, facts)


def _dead_letter(records: Records, refusal: Rejected, topic: str, version: str) -> OutboxRecord:
    i = refusal.record
    facts = (
        refusal.reason,
        refusal.code,
        refusal.stage,
        records.topic,
        str(int(records.partitions[i])),
        str(int(records.offsets[i])),
        str(int(records.timestamps_ms[i])),
        version,
    )
    own = tuple((name, value or b"") for name, value in records.headers[i] or ())
    return _letter(topic, OutboxRecord(records.topic, records.keys[i], records.values[i], own), facts)


def _letter(topic: str, original: OutboxRecord, facts: Sequence[str]) -> OutboxRecord:
    added = tuple((name, fact.encode()) for name, fact in zip(HEADERS, facts, strict=True))
    return OutboxRecord(topic, original.key, original.value, original.headers + added)
