"""Events for the learner, and settings small enough to see what becomes of them."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protos.events_pb2 import Command, Interaction, InteractionBatch
from state.factors import FactorTable
from state.model import Model
from state.rocksdb.writer import RocksWriter
from state.store import VersionId
from stream.config import LearnerSettings
from stream.engine import Engine
from stream.events import Records
from stream.lineage.bases import begin_version
from stream.lineage.identity import identity

INTERACTIONS, CONTROL, DLQ, DRIFT = (
    "livefactor.interactions.v1",
    "livefactor.control.v1",
    "livefactor.interactions.v1.dlq",
    "livefactor.drift.v1",
)
SMALL: Mapping[str, Mapping[str, Any]] = {
    "learning": {"rank": 4, "algorithm": "als"},
    "state": {"rows_max": 3_000, "items_max": 500, "history_max": 12, "sync": "never"},
    "decode": {"event_ids_kept": 50},
    "prequential": {"sample_every": 1, "work_max": 10**9, "window_events": 10},
}


def small_settings(**sections: Mapping[str, Any]) -> LearnerSettings:
    """`SMALL` with other values for some settings."""
    names = {**SMALL, **sections}
    return LearnerSettings(**{name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in names})


def in_directory(settings: LearnerSettings, directory: Path) -> LearnerSettings:
    """The same settings for a store in a directory."""
    state = settings.state.model_copy(update={"directory": directory})
    return settings.model_copy(update={"state": state})


def keep_version(settings: LearnerSettings) -> VersionId:
    """Keep the state that a learner has left."""
    with closing(RocksWriter(settings.state, identity(settings))) as store:
        assert begin_version(settings, store, "test").advance(wait=True)
        return store.head().version


def event(
    user: str, item: str, event_type: str = "", value: float | None = None, event_id: str = ""
) -> bytes:
    """An Interaction on the wire."""
    return Interaction(
        user_id=user, item_id=item, event_type=event_type, value=value, event_id=event_id
    ).SerializeToString()


def batch(*events: bytes) -> bytes:
    """An InteractionBatch on the wire."""
    return InteractionBatch(interactions=map(Interaction.FromString, events)).SerializeToString()


def command(action: int, command_id: str = "c1", model: str = "default", **fields: Any) -> bytes:
    """A Command on the wire."""
    return Command(command_id=command_id, model=model, action=action, **fields).SerializeToString()


@dataclass
class Feed:
    """Turns values into records with the offsets that follow."""

    topic: str = INTERACTIONS
    offset: int = 0

    def __call__(self, *values: bytes | None, partition: int = 0, headers: Any = None) -> Records:
        """Records of one partition."""
        first, self.offset = self.offset, self.offset + len(values)
        return Records(
            self.topic,
            list(values),
            [b"key"] * len(values),
            [headers] * len(values),
            np.full(len(values), partition, np.int32),
            np.arange(first, self.offset, dtype=np.int64),
            np.full(len(values), 1_700_000_000_000, np.int64),
        )


def random_events(count: int, users: int, items: int, seed: int = 1) -> list[bytes]:
    """Likes, dislikes, impressions, removals, duplicates and rubbish."""
    random = np.random.default_rng(seed)
    values: list[bytes] = []
    for n in range(count):
        user, item = f"u{random.integers(users)}", f"i{int(items * random.random() ** 2)}"
        kind = random.random()
        if kind < 0.05 and values:
            values.append(values[random.integers(len(values))])
        elif kind < 0.15:
            values.append(event(user, item, "remove"))
        elif kind < 0.2:
            values.append(event(user, item, "impression"))
        elif kind < 0.22:
            values.append(b"\x08rubbish")
        elif kind < 0.3:
            values.append(batch(event(user, item), event(user, f"i{random.integers(items)}")))
        else:
            rating = None if kind < 0.5 else float(random.integers(-1, 6))
            values.append(event(user, item, "", rating, f"e{n}" if kind > 0.8 else ""))
    return values


def portions(values: Sequence[bytes], size: int, partitions: int = 3) -> list[Records]:
    """Micro-batches of about `size` records, each of several partitions in order."""
    feeds = [Feed() for _ in range(partitions)]
    found = []
    for start in range(0, len(values), size):
        part = values[start : start + size]
        blocks = [
            feeds[p](*part[p::partitions], partition=p) for p in range(partitions) if part[p::partitions]
        ]
        found.append(
            Records(
                INTERACTIONS,
                [value for block in blocks for value in block.values],
                [key for block in blocks for key in block.keys],
                [headers for block in blocks for headers in block.headers],
                np.concatenate([block.partitions for block in blocks]),
                np.concatenate([block.offsets for block in blocks]),
                np.concatenate([block.timestamps_ms for block in blocks]),
            )
        )
    return found


def slot(table: FactorTable, name: str) -> int:
    """Where a user or an item is, -1 if it is not resident."""
    return int(table.find_ids([name.encode()])[0])


def score(model: Model, user: str, item: str) -> float:
    """What the model says of a pair."""
    u, i = slot(model.users, user), slot(model.items, item)
    return float(model.users.vectors[u] @ model.items.vectors[i] + model.users.bias[u] + model.items.bias[i])


def history(engine: Engine, user: str) -> list[tuple[str, float]]:
    """A resident user's interactions, oldest first."""
    model = engine.model
    others, strengths = model.users.history(slot(model.users, user))
    return list(
        zip(
            [name.decode() for name in model.items.ids(others.astype(np.int64))],
            strengths.tolist(),
            strict=True,
        )
    )
