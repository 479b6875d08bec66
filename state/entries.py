"""Lists of bounded length, one for each row: blocks of one arena for each field of an entry.

The arena grows with what is held; a block is a size that holds its list and little more, and a block given
back is the next one of its size. The first field is uint32: in a free block it links to the next.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from state import maps
from state.arrays import I32, I64, U8, U32
from state.codec import Column
from state.copying import grown

ARENA_FIRST = 1 << 14
"""Entries that an arena begins with."""


def block_sizes(most: int) -> I64:
    """Sizes of blocks: growing by half, multiples of four; the last one holds `most` entries."""
    sizes = [4]
    while sizes[-1] < most:
        sizes.append(min(sizes[-1] + max(4, sizes[-1] // 8 * 4), -(-most // 4) * 4))
    return np.array(sizes, np.int64)


class Entries:
    """The lists of `capacity` slots, of at most `most` entries each.

    `start` int64 and `length` int32 [capacity]: the list of a slot is that span of every array in `fields`.
    """

    def __init__(self, columns: Sequence[Column], capacity: int, most: int) -> None:
        """Raises ValueError for columns that an arena cannot hold."""
        first = [np.dtype(column.dtype) for column in columns[:1]]
        if any(column.width != 1 for column in columns) or first not in ([], [np.dtype(np.uint32)]):
            raise ValueError("an entry is made of single numbers, of which the first is uint32")
        self.most = most
        self.sizes = block_sizes(most)
        self.free, self.top = np.full(len(self.sizes), -1, np.int64), np.zeros(1, np.int64)
        self.start: I64 = np.zeros(capacity, np.int64)
        self.length: I32 = np.zeros(capacity, np.int32)
        self.size_class = np.full(capacity, -1, np.int8)
        self.fields: dict[str, npt.NDArray[np.generic]] = {
            column.name: np.zeros(ARENA_FIRST, column.dtype) for column in columns
        }

    @property
    def raw(self) -> tuple[U8, ...]:
        """Each field as uint8 [arena, bytes]."""
        return tuple(field.view(np.uint8).reshape(-1, field.itemsize) for field in self.fields.values())

    def span(self, slot: int) -> slice:
        """Where the list of a slot lies."""
        return slice(self.start[slot], self.start[slot] + self.length[slot])

    def reserve(self, lists: int) -> None:
        """Have room for so many full lists more."""
        self._reserve(lists * int(self.sizes[-1]))

    def resize(self, slots: I64, lengths: I32) -> None:
        """Give slots blocks for lists of other lengths, whose entries are then to be written."""
        if not self.fields:
            return
        self._reserve(int(self.sizes[np.searchsorted(self.sizes, lengths[lengths > 0])].sum()))
        links = cast(U32, next(iter(self.fields.values())))
        maps.make_room(slots, lengths, self.start, self.size_class, self.sizes, self.free, self.top, links)

    def _reserve(self, count: int) -> None:
        if not self.fields or int(self.top[0]) + count <= self._room:
            return
        self._compact()
        needed = int(self.top[0]) + count
        if needed > self._room:
            self.fields = {name: grown(field, needed) for name, field in self.fields.items()}

    @property
    def _room(self) -> int:
        return len(next(iter(self.fields.values())))

    def _compact(self) -> None:
        """Close the gaps that outgrown lists have left, if they are an eighth of the arena."""
        slots = np.flatnonzero(self.size_class >= 0)
        held = int(self.sizes[self.size_class[slots]].sum())
        if held * 8 <= int(self.top[0]) * 7:
            order = slots[np.argsort(self.start[slots])]
            sizes = self.sizes[self.size_class[order]]
            for field in self.fields.values():
                maps.move_blocks(self.start[order], sizes, field)
            ends = np.cumsum(sizes)
            self.start[order] = ends - sizes
            self.free[:] = -1
            self.top[0] = ends[-1] if len(ends) else 0
