"""How drift events are kept in the store, and sent to those who subscribed to them."""

from collections.abc import Iterator, Mapping, Sequence

from protos.events_pb2 import DriftEvent, DriftEvents, Severity
from state.store import DRIFT_EVENTS_MEMO, OutboxRecord
from stream.cloud_events import cloud_event, webhook_destination
from stream.config import LearnerSettings

EVENTS_KEPT = 50
"""Latest drift events that the store keeps."""


def kept_in(memos: Mapping[str, bytes]) -> DriftEvents:
    """The latest events."""
    kept = DriftEvents.FromString(memos.get(DRIFT_EVENTS_MEMO, b""))
    kept.raised = max(kept.raised, len(kept.events))
    return kept


def with_raised(kept: DriftEvents, raised: Sequence[DriftEvent]) -> DriftEvents:
    """The latest events once these are among them."""
    return DriftEvents(events=[*kept.events, *raised][-EVENTS_KEPT:], raised=kept.raised + len(raised))


def outgoing(events: Sequence[DriftEvent], settings: LearnerSettings) -> Iterator[OutboxRecord]:
    """Each for every destination that wants it."""
    for event in events:
        yield cloud_event(settings.topics.drift, settings.model.name, event.id, event)
        for name, webhook in settings.drift.webhooks.items():
            if event.severity >= Severity.Value(f"SEVERITY_{webhook.min_severity.upper()}"):
                yield cloud_event(webhook_destination(name), settings.model.name, event.id, event)
