"""One attempt to post a drift event, and what its failure means."""

import time
from typing import NamedTuple, Self

import aiohttp

from protos.events_pb2 import DriftEvent
from state.store import OutboxRecord
from stream.config import WebhookConfig
from stream.webhooks.formats import body_of, signed

ATTEMPT_S = 10.0
REPLY_BYTES = 200
RETRIED = (408, 425, 429)
"""Statuses below 500 that may be others next time."""


class Refusal(NamedTuple):
    """Why an attempt failed; `again_s`: when to try again at the earliest, None for never."""

    reason: str
    again_s: float | None


class Poster:
    """Connections to one webhook, to be used as a context."""

    def __init__(self, config: WebhookConfig) -> None:
        self._config = config
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ATTEMPT_S), trust_env=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def post(self, record: OutboxRecord) -> Refusal | None:
        """What came of it if the record, a CloudEvent, was not taken.

        No redirect is followed: what is in an event, and in an address, is for one host.
        """
        event, now_s, config = DriftEvent.FromString(record.value or b""), int(time.time()), self._config
        body = body_of(event, config.format, now_s)
        headers = {name: value.decode() for name, value in record.headers if name.startswith("ce-")}
        headers |= {"content-type": "application/json", "user-agent": "livefactor"}
        headers |= signed(config.secret, event.id, now_s, body)
        try:
            async with self._session.post(
                config.url, data=body, headers=headers, allow_redirects=False
            ) as reply:
                return await _judge(reply)
        except TimeoutError:
            return Refusal(f"no answer within {ATTEMPT_S:.0f} s", 0.0)
        except (aiohttp.ClientError, OSError) as error:
            return Refusal(f"{type(error).__name__}: {error}", 0.0)


async def _judge(reply: aiohttp.ClientResponse) -> Refusal | None:
    status = reply.status
    if status < 300:
        return None
    if status < 400:
        where = reply.headers.get("location", "nowhere")
        return Refusal(f"it redirects to {where} (HTTP {status}): set its url to where it is now", None)
    said = (await reply.content.read(REPLY_BYTES)).decode("utf-8", "replace").strip()
    reason = f"HTTP {status} {reply.reason or ''}" + (f": {said}" if said else "")
    if status < 500 and status not in RETRIED:
        return Refusal(reason, None)
    after = reply.headers.get("retry-after", "")
    return Refusal(reason, float(after) if after.isdecimal() else 0.0)
