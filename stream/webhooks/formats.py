"""A drift event as its receivers over HTTP want it, signed by the Standard Webhooks specification."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from protos.events_pb2 import DriftEvent
from stream.config import signing_key
from stream.drift.announcement import action_of, fields_of, severity_of

ALERT_LASTS_S = 3_600
"""An alert of Alertmanager ends by itself: a drift event is told once, and nobody tells when it is over."""


def body_of(event: DriftEvent, form: str, now_s: int) -> bytes:
    """The JSON that is posted; `form` is one of FORMS."""
    return orjson.dumps(FORMS[form](event, now_s))


def signed(secret: str, event_id: str, now_s: int, body: bytes) -> dict[str, str]:
    """Headers by which a receiver knows a delivery, and with a secret also that it is ours."""
    headers = {"webhook-id": event_id, "webhook-timestamp": str(now_s)}
    if secret:
        content = f"{event_id}.{now_s}.".encode() + body
        digest = hmac.new(signing_key(secret), content, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _event(event: DriftEvent, _: int) -> object:
    return fields_of(event)


def _slack(event: DriftEvent, _: int) -> object:
    """Of an incoming webhook of Slack, or of what understands the same (Mattermost, Discord's /slack)."""
    title = f"{severity_of(event).upper()}: {action_of(event)} {event.model} ({event.reason})"
    text = f"*{_slack_text(title)}*\n{_slack_text(event.message)}\n`{event.id}`"
    return {"text": text}


def _slack_text(text: str) -> str:
    """Slack's three control characters as themselves."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _alertmanager(event: DriftEvent, now_s: int) -> object:
    """Of Alertmanager's API v2, `/api/v2/alerts`."""
    return [
        {
            "labels": {
                "alertname": "LivefactorDrift",
                "model": event.model,
                "reason": event.reason,
                "action": action_of(event),
                "severity": severity_of(event),
            },
            "annotations": {"summary": event.message, "id": event.id, "segment": event.segment},
            "startsAt": _rfc3339(now_s),
            "endsAt": _rfc3339(now_s + ALERT_LASTS_S),
        }
    ]


def _rfc3339(time_s: int) -> str:
    return Timestamp(seconds=time_s).ToJsonString()


FORMS: Mapping[str, Callable[[DriftEvent, int], object]] = {
    "event": _event,
    "slack": _slack,
    "alertmanager": _alertmanager,
}
