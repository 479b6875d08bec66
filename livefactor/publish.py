"""Interactions into the log: at full speed or at a given rate, and an account of what became of them."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from livefactor.event_files import BadRow
from protos.events_pb2 import Interaction
from state.errors import PublishError, SourceError
from state.store import TopicPartition

EXAMPLES_MAX = 5
PACE_SLICE_S = 0.01
FLUSH_TIMEOUT_MS = 60_000
ADVANCE_EVERY = 100


class Outlet(Protocol):
    """Where events go; `stream.kafka.KafkaPublisher` is one."""

    acknowledged: int
    """Records that a broker has."""

    positions: dict[TopicPartition, int]
    """For each partition written to, the offset after the last acknowledged record."""

    def publish(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Hand one record over, waiting while the queue is full. Raises SourceError if one was refused."""
        ...

    def flush(self, timeout_ms: int) -> object:
        """Wait until everything is acknowledged. Raises SourceError if not all of it was."""
        ...


@dataclass
class Account:
    """What became of some rows.

    `damage` says why reading ended before the file's end, if it did; `failure` why not everything was
    acknowledged, if so. `positions`: next offset of each partition written to.
    """

    events: int = 0
    acknowledged: int = 0
    seconds: float = 0.0
    bad: Counter[str] = field(default_factory=Counter)
    examples: list[BadRow] = field(default_factory=list)
    positions: Mapping[TopicPartition, int] = field(default_factory=dict)
    damage: str | None = None
    failure: str | None = None

    @property
    def events_per_second(self) -> float:
        """Acknowledged or not, over the whole time."""
        return self.events / max(self.seconds, 1e-9)

    @property
    def complete(self) -> bool:
        """Whether the file was whole and a broker has every event of it."""
        return self.damage is None and self.failure is None and self.acknowledged == self.events

    def refuse(self, row: BadRow) -> None:
        """Count a bad row, keeping the first few as examples."""
        self.bad[row.reason] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(row)


def publish(
    rows: Iterable[Interaction | BadRow],
    outlet: Outlet,
    topic: str,
    *,
    rate: float | None = None,
    limit: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Account:
    """Publish interactions keyed by their user, `rate` a second if given, at most `limit` of them.

    `advance` is told now and then how many have been handed over. Returns when a broker has acknowledged
    all of them, or with the reason why not; a damaged file is published as far as it can be read.
    """
    account = Account()
    acknowledged_before = outlet.acknowledged
    started_s = time.monotonic()
    try:
        for interaction in _paced(_limited(_good(rows, account), limit), rate, started_s):
            outlet.publish(topic, interaction.user_id.encode(), interaction.SerializeToString())
            account.events += 1
            if account.events % ADVANCE_EVERY == 0:
                advance(account.events)
    except PublishError as error:
        account.damage = str(error)
    except SourceError as error:
        account.failure = str(error)
    _flush(outlet, account)
    account.seconds = time.monotonic() - started_s
    account.acknowledged = outlet.acknowledged - acknowledged_before
    account.positions = dict(outlet.positions)
    advance(account.events)
    return account


def _flush(outlet: Outlet, account: Account) -> None:
    try:
        outlet.flush(FLUSH_TIMEOUT_MS)
    except SourceError as error:
        account.failure = account.failure or str(error)


def _good(rows: Iterable[Interaction | BadRow], account: Account) -> Iterator[Interaction]:
    for row in rows:
        if isinstance(row, BadRow):
            account.refuse(row)
        else:
            yield row


def _limited(interactions: Iterator[Interaction], limit: int | None) -> Iterator[Interaction]:
    return interactions if limit is None else islice(interactions, limit)


def _paced(
    interactions: Iterator[Interaction], rate: float | None, started_s: float
) -> Iterator[Interaction]:
    """Each interaction not before its turn; sleeps are long enough to be cheap at high rates."""
    if rate is None:
        yield from interactions
        return
    for number, interaction in enumerate(interactions):
        wait_s = started_s + number / rate - time.monotonic()
        if wait_s > PACE_SLICE_S or (wait_s > 0 and rate * PACE_SLICE_S < 1):
            time.sleep(wait_s)
        yield interaction
