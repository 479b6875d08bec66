"""Small recorded streams for replays."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from livefactor.settings import Settings
from protos.events_pb2 import Interaction
from stream.config import DecodeConfig
from stream.events import Interactions, Records
from stream.intake.decode import Decoder
from stream.replay import Plan, Replay, Result


def stream(events: Iterable[Mapping[str, Any]]) -> Interactions:
    """Events as fields of `Interaction`, in order, as one stream."""
    values = [Interaction(**event).SerializeToString() for event in events]
    records = Records.of_values("", values, np.full(len(values), 1_700_000_000_000))
    return Decoder(DecodeConfig()).decode(records).interactions


def pairs(text: str) -> Interactions:
    """Likes as words of a user's and an item's letter: `"ax bx ay"`."""
    return stream({"user_id": word[0], "item_id": word[1]} for word in text.split())


def random_likes(count: int, users: int, items: int, seed: int = 1) -> list[dict[str, Any]]:
    """Likes of users who each prefer one third of the items, the first of them most."""
    random = np.random.default_rng(seed)
    chosen = random.integers(users, size=count)
    liked = (3 * (items * random.random(count) ** 2 / 3).astype(int) + chosen % 3) % items
    return [{"user_id": f"u{user}", "item_id": f"i{item}"} for user, item in zip(chosen, liked, strict=True)]


def likes_by_taste(count: int, users: int, items: int, tastes: int, seed: int = 1) -> list[dict[str, Any]]:
    """Likes of users who each like one part of the items and no other: easy to tell, and hard to miss."""
    random = np.random.default_rng(seed)
    chosen, share = random.integers(users, size=count), items // tastes
    liked = share * (chosen % tastes) + (share * random.random(count) ** 2).astype(int)
    return [{"user_id": f"u{user}", "item_id": f"i{item}"} for user, item in zip(chosen, liked, strict=True)]


def ratings_by_taste(count: int, users: int, items: int, tastes: int, seed: int = 1) -> list[dict[str, Any]]:
    """Ratings of 4 and 5 for the items of a user's taste, of 1 and 2 for others."""
    random = np.random.default_rng(seed)
    chosen, rated = random.integers(users, size=count), random.integers(items, size=count)
    values = 1.0 + 3.0 * (chosen % tastes == rated * tastes // items) + random.integers(2, size=count)
    return [
        {"user_id": f"u{user}", "item_id": f"i{item}", "value": value}
        for user, item, value in zip(chosen.tolist(), rated.tolist(), values.tolist(), strict=True)
    ]


def settings(**sections: Mapping[str, Any]) -> Settings:
    """A small model, with other values for some settings."""
    return Settings(**{"learning": {"rank": 4}, **sections})


def replayed(events: Interactions, configured: Settings | None = None, plan: Plan | None = None) -> Result:
    """The outcome of a whole replay."""
    replay = Replay(events, configured or settings(), plan or Plan())
    while replay.advance():
        pass
    return replay.result()
