"""How far one watcher is in the drift events that a store keeps, and what it is told next."""

from collections.abc import Sequence

from protos.events_pb2 import SEVERITY_WARNING, DriftAction, DriftEvent, DriftEvents, Severity

EVENTS_MISSED = "events_missed"
"""Reason of what tells a watcher that events are no longer kept which it should have got."""

HEARTBEAT = "heartbeat"
"""Reason of what comes when nothing else does."""


class Cursor:
    """Remembers which of the kept events have been passed on; holds no events."""

    def __init__(self, kept: DriftEvents, after_id: str | None) -> None:
        """Begin after an event, with the oldest where the id is empty, or after all where it is None."""
        ids = [event.id for event in kept.events]
        self._gap = ""
        if after_id is None:
            passed = len(ids)
        elif after_id in ids:
            passed = ids.index(after_id) + 1
        else:
            passed = 0
            if after_id:
                self._gap = f"the event {after_id} is not among the latest {len(ids)}, which follow"
        self._passed = frozenset(ids[:passed])
        self._count = kept.raised - (len(ids) - passed)

    def advance(self, kept: DriftEvents) -> list[DriftEvent]:
        """What is new since the last call; where events are missing, what says so comes first."""
        new = [event for event in kept.events if event.id not in self._passed]
        missing = kept.raised - self._count - len(new)
        if missing > 0:
            self._gap = f"{missing} events were raised that are not among the latest {len(kept.events)}"
        told = [_missed(self._gap)] if self._gap else []
        self._gap = ""
        self._passed = frozenset(event.id for event in kept.events)
        self._count = kept.raised
        return [*told, *new]


def selected(event: DriftEvent, actions: Sequence[DriftAction], min_severity: Severity) -> bool:
    """Whether someone wants an event who wants these actions, any where there are none."""
    return event.severity >= min_severity and (not actions or event.action in actions)


def _missed(gap: str) -> DriftEvent:
    message = f"{gap}: what is missing is on the topic of drift events as long as that keeps it"
    return DriftEvent(severity=SEVERITY_WARNING, reason=EVENTS_MISSED, message=message)
