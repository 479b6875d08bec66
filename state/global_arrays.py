"""Arrays of which there is one: counters, Gramians, weights."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from state.arrays import Array
from state.codec import GLOBAL, single_rows
from state.errors import FormatMismatchError, StoreCorruptError
from state.scoring import popularity
from state.scoring.blend import SIZE_REPEATS, first_weights
from state.store import Rows

NO_RATINGS = (np.inf, -np.inf)
"""Lowest and highest of no ratings."""

RECENT_ITEMS = 2_000
"""Length of the ring of recently liked items from which negatives are drawn."""


def global_arrays(rank: int) -> dict[str, Array]:
    """The arrays as they begin. Their order gives their ordinals: append new ones.

    `counts`: users and items ever created; `clock`: interactions learnt; `mean`: running mean of ratings
    and their number; `gramian_*`: sums of outer products in units of 2^-32; `recent`: ring of recently liked
    items, `recent_state`: its next place and how many it holds; `weights` of the ranking score and their
    `curvature`, and the same for users of whom nothing is known: see `state.scoring.blend`; `ratings_seen`:
    the lowest and the highest.
    """
    return {
        "counts": np.zeros(2, np.int64),
        "clock": np.zeros(1, np.int64),
        "mean": np.zeros(2, np.float64),
        "gramian_user": np.zeros((rank, rank), np.int64),
        "gramian_item": np.zeros((rank, rank), np.int64),
        "recent": np.zeros(RECENT_ITEMS, np.int64),
        "recent_state": np.zeros(2, np.int64),
        "weights": first_weights(),
        "curvature": np.eye(SIZE_REPEATS),
        "newcomer_weights": popularity.first_weights(),
        "newcomer_curvature": np.eye(popularity.FEATURES),
        "ratings_seen": np.array(NO_RATINGS),
    }


WEIGHTS = ("weights", "curvature", "newcomer_weights", "newcomer_curvature")
"""Arrays as long as there are features of the ranking score, whatever the rank."""

_WEIGHTS_BYTES = {
    ordinal: array.nbytes for ordinal, (name, array) in enumerate(global_arrays(1).items()) if name in WEIGHTS
}


def ordinals_of_another_length(rows: Rows) -> list[int]:
    """Of stored rows of any kind, those that are weights of a program with other features."""
    if rows.kind != GLOBAL:
        return []
    stored = zip(rows.ordinals.tolist(), np.diff(rows.bounds).tolist(), strict=True)
    return [ordinal for ordinal, size in stored if _WEIGHTS_BYTES.get(ordinal, size) != size]


class Globals(Mapping[str, Array]):
    """The global arrays by name. Implements `state.kinds.Part`; a flush writes all of them."""

    def __init__(self, rank: int) -> None:
        self._arrays = global_arrays(rank)
        self._names = list(self._arrays)
        self._marked: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def apply(self, rows: Rows) -> None:
        """Take over stored arrays.

        Raises FormatMismatchError for weights of another length, StoreCorruptError for what is no array of
        this program.
        """
        if old := ordinals_of_another_length(rows):
            raise FormatMismatchError(
                f"the store has {', '.join(self._names[ordinal] for ordinal in old)} of a program whose "
                "ranking score weighs other features: run `livefactor state upgrade`, which begins the "
                "weights anew and keeps everything else"
            )
        for i, ordinal in enumerate(rows.ordinals.tolist()):
            array = self._arrays[self._names[ordinal]] if ordinal < len(self._names) else None
            value = rows.row(i)
            if array is None or len(value) != array.nbytes:
                raise StoreCorruptError(
                    f"global array {ordinal} has {len(value)} bytes, which is not one of this program's: "
                    "the store is damaged or newer than the program; use the version that wrote it"
                )
            array[...] = np.frombuffer(value, array.dtype).reshape(array.shape)

    def mark(self, names: Iterable[str]) -> None:
        """Have arrays journalled with the next micro-batch."""
        self._marked.update(names)

    def take_changed(self) -> Rows:
        """Arrays marked since the last call."""
        marked, self._marked = self._marked, set()
        return self._pack(marked)

    def changed_since(self, batch_seq: int) -> Rows:
        """All of them: they are few, and most change with every micro-batch."""
        return self._pack(self._names)

    def changed_count(self, batch_seq: int) -> int:
        """None that a flush could put off."""
        return 0

    def _pack(self, names: Iterable[str]) -> Rows:
        return single_rows(GLOBAL, {self._names.index(name): self[name].tobytes() for name in names})
