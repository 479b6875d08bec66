"""What the names of events mean: names that people commonly give, and what the settings say beyond them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from stream.config import REMOVE, DecodeConfig

COMMON: Mapping[str, float | str] = {
    "dislike": -1.0,
    "thumbs_down": -1.0,
    "down_vote": -1.0,
    "not_interested": -1.0,
    "hate": -1.0,
    "hide": -1.0,
    "block": -1.0,
    "ban": -1.0,
    "report": -1.0,
    "skip": -0.5,
    "dismiss": -0.5,
    REMOVE: REMOVE,
    "unlike": REMOVE,
    "undo": REMOVE,
    "delete": REMOVE,
    "unfavorite": REMOVE,
    "unfavourite": REMOVE,
    "unsave": REMOVE,
    "unfollow": REMOVE,
    "unsubscribe": REMOVE,
    "remove_from_cart": REMOVE,
    "remove_from_wishlist": REMOVE,
    "remove_from_favorites": REMOVE,
    "remove_from_favourites": REMOVE,
}
"""Weights of names that are no likes, whatever their case and separators; settings go before them."""

LOOKS_NEGATIVE = re.compile(
    "^un(?!i[foqtv]|lock|der|box|til|pack|cover|veil)|^dis(?!c|h|p|t)|^not(?!e|a|i[cf])|^no$|^never|"
    "dislike|unlike|thumbs?down|downvote|skip|remov|delet|cancel|refund|reject|refus|dismiss|hate|hid(e|den)|"
    "block|mute|spam|complain|declin|ignor|revert|undo|return|abandon|withdraw|revoke|negative|banned|^report|trash"
)
"""What a folded name holds that is probably no like's."""

NAMED_MAX = 5
"""How many doubtful types are named at once."""


class Meaning(NamedTuple):
    """What a name does: it counts with `weight`, or it `removes` what the user did before with the item."""

    weight: float
    removes: bool


def fold(name: str) -> str:
    """A name without case and separators: "Thumbs-Down", "thumbs_down" and "thumbsDown" are one."""
    return "".join(filter(str.isalnum, name.casefold()))


def looks_negative(name: str) -> bool:
    """Whether a name that has no meaning of its own is probably not a like's."""
    return LOOKS_NEGATIVE.search(fold(name)) is not None


def describe_doubtful(types: Mapping[str, int]) -> str:
    """What is to be said of events that are taken for likes although their types look negative."""
    names = sorted(types, key=lambda name: (-types[name], name))[:NAMED_MAX]
    counts = ", ".join(f"{name!r} ({types[name]:,})" for name in names)
    return (
        f"event types look negative but count as likes: {counts}; give each a weight below 0, 0 or "
        f'"{REMOVE}" in decode.event_weights, or the weight of a like if it is one'
    )


def meanings(config: DecodeConfig) -> dict[str, Meaning]:
    """What every known name means: names as they stand in the settings, then all of them folded."""
    given: Mapping[str, float | str] = {"": config.event_weight_default, **config.event_weights}
    taken = {fold(name) for name in given}
    named = {**given, **{name: what for name, what in COMMON.items() if fold(name) not in taken}}
    known = {name: _meaning(what, config.event_weight_default) for name, what in named.items()}
    for name in named:
        if folded := fold(name):
            known.setdefault(folded, known[name])
    return known


def _meaning(what: float | str, weight_default: float) -> Meaning:
    return Meaning(weight_default, True) if isinstance(what, str) else Meaning(what, False)
