"""A seeded stream of records, good and bad, and a plain account of what a learner must have made of it.

Nothing of the learner is used here but the protobuf messages: every record is made together with its
meaning, and the account is kept in dictionaries, one interaction after the other.
"""

import json
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from protos.events_pb2 import (
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_LEARN_MISSED,
    COMMAND_ACTION_RESUME,
    Command,
    Interaction,
    InteractionBatch,
)

USERS = 1_000
ITEMS = 300
POISON_SHARE = 0.05
LARGE_POISON_BYTES = 30_000
ORDERS = (
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_RESUME,
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_LEARN_MISSED,
)


@dataclass(frozen=True)
class Event:
    """One interaction: `strength` None is a `remove`, 0 is an impression."""

    user: str
    item: str
    strength: float | None
    event_id: str = ""


@dataclass(frozen=True)
class Made:
    """One record and what it means: interactions, or None for one that must end as a dead letter."""

    key: bytes | None
    value: bytes | None
    events: tuple[Event, ...] | None


def records(seed: int) -> Iterator[Made]:
    """An endless stream; the same for the same seed."""
    chance = random.Random(seed)
    recent: deque[Event] = deque(maxlen=60)
    while True:
        yield _poison(chance) if chance.random() < POISON_SHARE else _good(chance, recent)


def _good(chance: random.Random, recent: deque[Event]) -> Made:
    user = f"u{int(USERS * chance.random() ** 2)}"
    again = chance.choice(recent) if recent else None
    kind = chance.random()
    if again and kind < 0.08:
        events = [Event(again.user, again.item, None)]
    elif again and kind < 0.14:
        events = [again]
    elif kind < 0.20:
        events = [_event(chance, user) for _ in range(chance.randint(2, 4))]
    else:
        events = [_event(chance, user)]
    recent.extend(event for event in events if event.strength is not None)
    return Made(events[0].user.encode(), _written(chance, events), tuple(events))


def _event(chance: random.Random, user: str) -> Event:
    item = f"i{int(ITEMS * chance.random() ** 2)}"
    strength = chance.choices((1.0, 0.5, 2.0, 3.0, -1.0, 0.0), (12, 2, 2, 2, 1, 1))[0]
    event_id = f"e{chance.getrandbits(40)}" if chance.random() < 0.4 else ""
    return Event(user, item, strength, event_id)


def _fields(event: Event) -> dict[str, object]:
    fields: dict[str, object] = {"user_id": event.user, "item_id": event.item}
    if event.strength is None:
        fields["event_type"] = "remove"
    elif event.strength == 0:
        fields["event_type"] = "impression"
    elif event.strength != 1:
        fields["value"] = event.strength
    if event.event_id:
        fields["event_id"] = event.event_id
    return fields


def _written(chance: random.Random, events: Sequence[Event]) -> bytes:
    """As protobuf or, now and then, as JSON."""
    fields = [_fields(event) for event in events]
    if chance.random() < 0.1:
        return json.dumps(fields[0] if len(fields) == 1 else fields).encode()
    messages = [Interaction(**each) for each in fields]  # type: ignore[arg-type]
    if len(messages) == 1:
        return messages[0].SerializeToString()
    return InteractionBatch(interactions=messages).SerializeToString()


def _poison(chance: random.Random) -> Made:
    good = Interaction(user_id="u1", item_id="i1", value=1.0).SerializeToString()
    of_two = [Interaction(user_id=user, item_id="i1") for user in ("u1", "u2")]
    value = chance.choice(
        [
            None,
            b"",
            good[:-3],
            b"\x00framed" + good,
            b'{"user_id": "u1"',
            b'{"user_id": "u1", "item_id": 7}',
            b'{"user": "u1"}',
            bytes(chance.getrandbits(8) | 0x80 for _ in range(30)),
            b"\xff" * LARGE_POISON_BYTES,
            Interaction(user_id="u1", item_id="i1", value=float("nan")).SerializeToString(),
            Interaction(user_id="u1", item_id="i1", value=-1e30).SerializeToString(),
            Interaction(user_id="", item_id="i1").SerializeToString(),
            Interaction(user_id="u1", item_id="i" * 300).SerializeToString(),
            Interaction(user_id="u1", item_id="i1", event_time_ms=-5).SerializeToString(),
            InteractionBatch(interactions=of_two).SerializeToString(),
        ]
    )
    return Made(chance.choice([None, b"u1", b"\xfe\xff"]), value, None)


def command(number: int, model: str) -> Made:
    """An order to freeze, to resume, to freeze, to learn what was missed, and so on."""
    action = ORDERS[number % len(ORDERS)]
    order = Command(command_id=f"c{number}", model=model, action=action)
    return Made(model.encode(), order.SerializeToString(), ())


@dataclass
class Account:
    """What the interactions so far must have left behind; with `items_remember`, items too have histories.

    Histories are lists of (other id, strength), oldest first; `interactions` counts what was learnt less
    what was removed or taken back by a contrary opinion.
    """

    history_max: int
    event_ids_kept: int
    items_remember: bool
    clock: int = 0
    frozen: bool = False
    user_history: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    item_history: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    user_interactions: dict[str, int] = field(default_factory=dict)
    item_interactions: dict[str, int] = field(default_factory=dict)
    _event_ids: dict[int, deque[str]] = field(default_factory=dict)

    def command(self, value: bytes) -> None:
        """Carry out what `command` made."""
        self.frozen = Command.FromString(value).action == COMMAND_ACTION_FREEZE

    def learn(self, partition: int, event: Event) -> None:
        """One interaction."""
        if self.frozen or self._is_duplicate(partition, event.event_id) or event.strength == 0:
            return
        if event.strength is None:
            if not self._forget(event):
                return
        else:
            self._forget_contrary(event)
            self._remember(event)
        self._count(event, -1 if event.strength is None else 1)
        self.clock += 1

    def _count(self, event: Event, change: int) -> None:
        self.user_interactions[event.user] = self.user_interactions.get(event.user, 0) + change
        self.item_interactions[event.item] = self.item_interactions.get(event.item, 0) + change

    def _is_duplicate(self, partition: int, event_id: str) -> bool:
        if not event_id:
            return False
        latest = self._event_ids.setdefault(partition, deque(maxlen=self.event_ids_kept))
        if event_id in latest:
            return True
        latest.append(event_id)
        return False

    def _remember(self, event: Event) -> None:
        for histories, own, other in (
            (self.user_history, event.user, event.item),
            (self.item_history, event.item, event.user),
        ):
            history = histories.setdefault(own, [])
            history.append((other, event.strength or 0.0))
            del history[: -self.history_max]

    def _forget_contrary(self, event: Event) -> None:
        """What the user said of the item with the other sign goes out of both histories."""
        of_user = self.user_history.get(event.user, [])
        said = [strength for other, strength in of_user if other == event.item]
        for strength in said:
            if (strength > 0) != ((event.strength or 0.0) > 0):
                self._forget(event)
                self._count(event, -1)

    def _forget(self, event: Event) -> bool:
        """Take the latest such interaction out of both histories; whether one had it."""
        of_user = _take_latest(self.user_history.get(event.user, []), event.item)
        if not self.items_remember:
            return of_user
        return _take_latest(self.item_history.get(event.item, []), event.user) or of_user


def _take_latest(history: list[tuple[str, float]], other: str) -> bool:
    for i in reversed(range(len(history))):
        if history[i][0] == other:
            del history[i]
            return True
    return False
