"""Mutated records through decoder and learner: none of them ends it, and each is learnt or a dead letter.

`make fuzz RECORDS=1000000` tries more of them.
"""

import os
import random
from collections import Counter

import numpy as np
import orjson
import pytest
from pipeline import CONTROL, DLQ, INTERACTIONS, Feed, batch, command, event, small_settings

from protos.events_pb2 import COMMAND_ACTION_RESUME, Interaction
from state.memory import MemoryStore
from stream.engine import Engine
from stream.events import Records

RECORDS = int(os.environ.get("FUZZ_RECORDS", "20000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
BATCH_RECORDS = 1_000
TIMES_MS = (1_700_000_000_000, 0, -1, 1_700_000_000, 2**63 - 1, -(2**63), 7_258_118_400_000)
NUMBERS = (0, 1, -1, 0.5, 1e308, -1e308, 1e-320, 2**31, 2**63 - 1, 2**63, 2**64 - 1, float("nan"))
TEXTS = ("", "u1", "i1", "remove", "REMOVE", "ж" * 128, "\x00", "\x85", "a" * 257, "{", "null", "🎬", " ")
NAMES = (
    "user_id",
    "item_id",
    "event_type",
    "value",
    "event_time_ms",
    "event_id",
    "interactions",
    "userId",
    "x",
)
HEADERS = (
    None,
    [],
    [("content-type", b"application/json")],
    [("content-type", b"application/protobuf")],
    [("Content-Type", b"\xff"), ("x", None)],
)
PIECES = (
    b"\xef\xbb\xbf",
    b"\n",
    b"  ",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"\0\0\0\0\x07\0",
)
FRAGMENTS = tuple(map(orjson.Fragment, (b"[" * 1_000 + b"]" * 1_000, b"1" * 5_000, b"-1e400", b"NaN")))


def document(chance: random.Random) -> dict[str, object]:
    """A JSON object, mostly with the right names, of which some have strange values."""
    made: dict[str, object] = {"user_id": f"u{chance.randrange(50)}", "item_id": f"i{chance.randrange(20)}"}
    for _ in range(chance.randrange(4)):
        made[chance.choice(NAMES)] = chance.choice(
            [*NUMBERS, *TEXTS, True, None, [], {}, [{}], {"a": [1]}, *FRAGMENTS]
        )
    return made


def as_json(chance: random.Random) -> bytes:
    """An object, a list or a batch of them."""
    one = orjson.dumps(document(chance))
    more = [one] * chance.randrange(3)
    return chance.choice([one, b"[" + b",".join(more) + b"]", b'{"interactions":[' + b",".join(more) + b"]}"])


def as_protobuf(chance: random.Random) -> bytes:
    """A message or a batch, some with extreme fields, some fields twice."""
    message = Interaction(user_id=f"u{chance.randrange(50)}", item_id=f"i{chance.randrange(20)}")
    if chance.random() < 0.3:
        message.value = float(chance.choice(NUMBERS))
    if chance.random() < 0.3:
        message.event_time_ms = chance.choice([*TIMES_MS, chance.randrange(-(2**63), 2**63)])
    if chance.random() < 0.3:
        message.event_type = chance.choice(TEXTS)
    if chance.random() < 0.1:
        message.user_id = chance.choice(TEXTS)
    written = message.SerializeToString()
    return chance.choice([written, batch(written, event("u1", "i2")), written + event("u3", "i3")])


def mutated(value: bytes, chance: random.Random) -> bytes:
    """The same bytes, some of them changed, cut off, doubled or with others between."""
    changed = bytearray(value)
    for _ in range(chance.choice([0, 0, 1, 1, 2, 5])):
        at = chance.randrange(len(changed) + 1)
        what = chance.randrange(4)
        if what == 0 and at < len(changed):
            changed[at] = chance.randrange(256)
        elif what == 1:
            del changed[at:]
        elif what == 2:
            changed[at:at] = chance.choice(PIECES)
        else:
            changed[at:at] = changed[: chance.randrange(20)]
    return bytes(changed)


def records(chance: random.Random, first: int) -> Records:
    """One batch of them."""
    values = [
        None if chance.random() < 0.01 else mutated(chance.choice([as_json, as_protobuf])(chance), chance)
        for _ in range(BATCH_RECORDS)
    ]
    return Records(
        INTERACTIONS,
        values,
        [chance.choice([None, b"", b"u1", b"\xff"]) for _ in values],
        [chance.choice(HEADERS) for _ in values],
        np.zeros(len(values), np.int32),
        np.arange(first, first + len(values), dtype=np.int64),
        np.array([chance.choice(TIMES_MS) for _ in values], np.int64),
    )


@pytest.mark.parametrize("feedback", ["implicit", "explicit"])
def test_no_record_ends_the_learner(feedback: str) -> None:
    settings = small_settings(learning={"feedback": feedback}, prequential={"sample_every": 20})
    store = MemoryStore()
    engine = Engine(settings, store)
    chance = random.Random(SEED)
    codes: Counter[str] = Counter()
    learnt = 0
    sent_through = 0
    for first in range(0, RECORDS // 2, BATCH_RECORDS):
        report = engine.process([records(chance, first)])
        letters = [each for each in store.outbox(sent_through) if each[1].topic == settings.topics.dlq]
        assert len(letters) == report.counts.rejected, f"FUZZ_SEED={SEED}"
        assert all(letter.topic == DLQ for _, letter in letters)
        codes.update(dict(letter.headers)["code"].decode() for _, letter in letters)
        learnt += report.counts.learnt
        if letters:
            sent_through = letters[-1][0]
            store.acknowledge([number for number, _ in letters])
        if engine.control.paused:
            engine.process([Feed(CONTROL, first)(command(COMMAND_ACTION_RESUME))])
    assert codes["decoder_failed"] == 0, f"FUZZ_SEED={SEED}: {codes}"
    assert np.isfinite(engine.model.users.vectors).all()
    assert np.isfinite(engine.model.items.vectors).all()
    assert len(codes) > 15
    assert learnt > RECORDS // 500
