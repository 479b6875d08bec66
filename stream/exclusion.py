"""Ranges of the log that nothing is learnt from: what a rollback has left out, such as events of a bot."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from state.arrays import I32, I64, Mask

Ranges = Mapping[int, Sequence[tuple[int, int]]]
"""(First offset, next offset) of each range by partition, ascending; none touches another."""

Range = tuple[int, int, int]
"""Partition, first offset, next offset."""


def each(ranges: Ranges) -> Iterator[Range]:
    """One after the other."""
    return (
        (partition, first, following) for partition, known in ranges.items() for first, following in known
    )


def joined(ranges: Ranges, more: Iterable[Range]) -> Ranges:
    """Both together."""
    every = sorted([*each(ranges), *more])
    found: dict[int, list[tuple[int, int]]] = {}
    for partition, first, following in every:
        known = found.setdefault(partition, [])
        if known and first <= known[-1][1]:
            known[-1] = known[-1][0], max(known[-1][1], following)
        else:
            known.append((first, following))
    return found


def since(ranges: Ranges, offsets: Mapping[int, int]) -> Ranges:
    """What lies at or after these offsets, by partition; all of a partition that is not among them."""
    return joined(
        {},
        (
            (partition, max(first, offsets.get(partition, first)), following)
            for partition, first, following in each(ranges)
            if following > offsets.get(partition, first)
        ),
    )


def length(ranges: Ranges) -> int:
    """How many offsets they have."""
    return sum(following - first for _, first, following in each(ranges))


def within(ranges: Ranges, partitions: I32, offsets: I64) -> Mask:
    """Which of the records at these places, int32 [n] and int64 [n], lie in them: bool [n]."""
    inside = np.zeros(len(offsets), np.bool_)
    for partition, first, following in each(ranges):
        inside |= (partitions == partition) & (offsets >= first) & (offsets < following)
    return inside
