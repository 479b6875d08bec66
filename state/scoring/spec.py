"""What the numbers of a store mean: the learner says it in the store, nobody configures it a second time."""

from dataclasses import asdict, dataclass

import orjson


@dataclass(frozen=True, slots=True)
class ScoringSpec:
    """Those settings of the learner that a score depends on.

    `rank` and `history_max` are the sizes of rows; `explicit`: scores are predicted ratings; `blends`: items
    are ranked by the blend, else by factors; `repeats`: items already seen are offered again.
    """

    rank: int
    history_max: int
    explicit: bool
    blends: bool
    repeats: bool

    def pack(self) -> bytes:
        """For the memo `state.store.SCORING_MEMO`."""
        return orjson.dumps(asdict(self))

    @classmethod
    def restore(cls, packed: bytes) -> "ScoringSpec":
        """Inverse of `pack`."""
        return cls(**orjson.loads(packed))
