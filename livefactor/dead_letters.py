"""The dead letter topic read back: what is in it, and sending records to where they came from.

A record is sent again at most once: afterwards a marker with its source coordinates goes to the dead
letter topic itself, so that whoever reads it next, on whatever machine, knows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from state.store import OutboxRecord
from stream.dead_letters import HEADERS
from stream.events import Records

RESENT = "livefactor-replayed"
TOPIC_NAME_MAX = 249

Coordinates = tuple[str, int, int]
"""Topic, partition and offset of the record that was rejected."""

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record, as it was, and why it was rejected."""

    source: Coordinates
    source_timestamp_ms: int
    reason: str
    code: str
    stage: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    def original(self) -> OutboxRecord:
        """The record as its publisher sent it."""
        return OutboxRecord(self.source[0], self.key, self.value, self.headers)

    def marker(self, topic: str) -> OutboxRecord:
        """What says that this record has been sent again."""
        name, partition, offset = self.source
        coordinates = f"{name} {partition} {offset}".encode()
        return OutboxRecord(topic, self.key, None, ((RESENT, coordinates),))


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """What a dead letter topic holds: each rejected record once, oldest first, and oddities by number.

    `duplicates`: records written more than once (the outbox delivers at least once); `foreign`: records
    that Livefactor did not write; `resent`: sources of those that have been sent again.
    """

    letters: tuple[DeadLetter, ...]
    resent: frozenset[Coordinates]
    duplicates: int
    foreign: int

    def waiting(self) -> tuple[DeadLetter, ...]:
        """Those that have not been sent again."""
        return tuple(letter for letter in self.letters if letter.source not in self.resent)


def collect(blocks: Iterable[Records]) -> DeadLetters:
    """What the records of a dead letter topic say."""
    letters: dict[Coordinates, DeadLetter] = {}
    resent: set[Coordinates] = set()
    duplicates = foreign = 0
    for key, value, headers in _rows(blocks):
        if (source := _marked(headers)) is not None:
            resent.add(source)
        elif (letter := parse(key, value, headers)) is None:
            foreign += 1
        elif letter.source in letters:
            duplicates += 1
        else:
            letters[letter.source] = letter
    ordered = sorted(letters.values(), key=lambda letter: (letter.source_timestamp_ms, letter.source))
    return DeadLetters(tuple(ordered), frozenset(resent), duplicates, foreign)


def _rows(blocks: Iterable[Records]) -> Iterator[tuple[bytes | None, bytes | None, Headers]]:
    for block in blocks:
        for key, value, headers in zip(block.keys, block.values, block.headers, strict=True):
            yield key, value, tuple(headers or ())


def parse(key: bytes | None, value: bytes | None, headers: Headers) -> DeadLetter | None:
    """A dead letter from its record; None if Livefactor did not write it.

    The learner adds its headers after the record's own, which may bear the same names.
    """
    own = headers[-len(HEADERS) :]
    if tuple(name for name, _ in own) != HEADERS:
        return None
    reason, code, stage, *source, timestamp_ms, _ = (content.decode("utf-8", "replace") for _, content in own)
    before = headers[: -len(HEADERS)]
    try:
        return DeadLetter(_coordinates(source), int(timestamp_ms), reason, code, stage, key, value, before)
    except ValueError:
        return None


def _marked(headers: Headers) -> Coordinates | None:
    """Which record was sent again, if this is a marker of ours."""
    if not headers or headers[-1][0] != RESENT:
        return None
    try:
        return _coordinates(headers[-1][1].decode("utf-8", "replace").split(" "))
    except ValueError:
        return None


def _coordinates(parts: list[str]) -> Coordinates:
    """Raises ValueError if these are none."""
    topic, *numbers = parts
    if all(number.isascii() and number.isdecimal() for number in numbers):
        partition, offset = map(int, numbers)
        if 0 < len(topic) <= TOPIC_NAME_MAX and partition < 2**31 and offset < 2**63:
            return topic, partition, offset
    raise ValueError(f"no place in a log: {parts}")
