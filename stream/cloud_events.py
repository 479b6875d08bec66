"""What the service tells the world, as CloudEvents 1.0 in binary mode over Kafka."""

from google.protobuf.message import Message

from state.store import OutboxRecord

_WEBHOOK = "webhook:"
"""No topic's name has a colon."""


def webhook_destination(name: str) -> str:
    """Where an outgoing record goes that is for a webhook, in the place of a topic."""
    return f"{_WEBHOOK}{name}"


def webhook_of(destination: str) -> str:
    """Inverse of `webhook_destination`; empty for a topic."""
    return destination.removeprefix(_WEBHOOK) if destination.startswith(_WEBHOOK) else ""


def cloud_event(topic: str, model: str, event_id: str, message: Message) -> OutboxRecord:
    """A message about a model, keyed by it; the same id marks the same event, however often it is sent."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-source": f"/livefactor/{model}",
        "ce-type": message.DESCRIPTOR.full_name,
        "content-type": "application/protobuf",
    }
    encoded = tuple((name, value.encode()) for name, value in headers.items())
    return OutboxRecord(topic, model.encode(), message.SerializeToString(), encoded)
