"""Drift events posted over HTTP to whoever is named in the settings."""

from stream.webhooks.sink import WebhookSink

__all__ = ["WebhookSink"]
