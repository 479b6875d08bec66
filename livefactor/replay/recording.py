"""A file of interactions as one stream in time order, with an account of the rows that are not in it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from livefactor.event_files import BadRow, read_lines
from livefactor.file_layout import Layout
from protos.events_pb2 import Interaction
from state.errors import PublishError
from stream.config import DecodeConfig
from stream.events import COLUMNS, Interactions, Records
from stream.intake.decode import Decoder

EXAMPLES_MAX = 5
CHUNK_ROWS = 10_000

Line = tuple[int, Interaction]


@dataclass
class Recording:
    """What a file holds.

    `sorted` says whether the rows stood in time order; `damage` why reading ended before the file's end, if
    it did; `bad` counts rows left out by reason, and `examples` are the first of them; `doubtful_types` as in
    `stream.events.Decoded`.
    """

    stream: Interactions
    sorted: bool = True
    bad: Counter[str] = field(default_factory=Counter)
    examples: list[BadRow] = field(default_factory=list)
    damage: str | None = None
    doubtful_types: Counter[str] = field(default_factory=Counter)


def read(
    path: Path,
    config: DecodeConfig,
    layout: Layout | None = None,
    *,
    strict: bool = False,
    limit: int | None = None,
) -> Recording:
    """The interactions of a file in time order, ties as they stand in the file, at most the first `limit`.

    A row without a time has that of the row before it. With `strict` the first bad row, or a file cut
    short, raises PublishError; so do, always, a file that is missing or of another kind, wrong columns, and
    a file without any interaction.
    """
    bad = _Bad(path, strict)
    rows = _Rows(read_lines(path, layout), bad)
    decoder = Decoder(config)
    doubtful_types: Counter[str] = Counter()
    parts = [_decode(decoder, chunk, bad, doubtful_types) for chunk in _chunks(rows)]
    stream = _joined(parts) if parts else None
    if stream is None or not len(stream):
        examples = "".join(f"; line {row.line}: {row.reason}" for row in bad.examples)
        raise PublishError(f"{path}: there is no interaction in it{examples}")
    times_ms = _filled(stream.time_ms)
    in_order = bool((np.diff(times_ms) >= 0).all())
    order = np.argsort(times_ms, kind="stable")[:limit]
    return Recording(stream.take(order), in_order, bad.counts, bad.examples, rows.damage, doubtful_types)


class _Bad:
    """Rows that are left out; the first one is an error if `strict`."""

    def __init__(self, path: Path, strict: bool) -> None:
        self._path, self.strict = path, strict
        self.counts: Counter[str] = Counter()
        self.examples: list[BadRow] = []

    def add(self, row: BadRow, kind: str) -> None:
        """Count a row under a kind of reason."""
        if self.strict:
            raise PublishError(f"{self._path}: line {row.line}: {row.reason}")
        self.counts[kind] += 1
        self.examples = sorted([*self.examples, row], key=lambda each: each.line)[:EXAMPLES_MAX]


class _Rows:
    """The good rows of a file with their lines; `damage` is set at the end of one that is cut short."""

    def __init__(self, lines: Iterator[tuple[int, Interaction | BadRow]], bad: _Bad) -> None:
        self._lines, self._bad = lines, bad
        self.damage: str | None = None

    def __iter__(self) -> Iterator[Line]:
        begun = False
        try:
            for line, row in self._lines:
                begun = True
                if isinstance(row, BadRow):
                    self._bad.add(row, row.reason)
                else:
                    yield line, row
        except PublishError as error:
            if self._bad.strict or not begun:
                raise
            self.damage = str(error)


def _chunks(rows: Iterable[Line]) -> Iterator[list[Line]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK_ROWS)):
        yield chunk


def _decode(decoder: Decoder, chunk: Sequence[Line], bad: _Bad, doubtful_types: Counter[str]) -> Interactions:
    """What the learner would make of the rows as records of its topic."""
    lines = [line for line, _ in chunk]
    times_ms = np.array([row.event_time_ms for _, row in chunk], np.int64)
    values = [row.SerializeToString() for _, row in chunk]
    decoded = decoder.decode(Records.of_values("", values, times_ms))
    for rejected in decoded.rejected:
        bad.add(BadRow(lines[rejected.record], rejected.reason), rejected.code)
    doubtful_types.update(decoded.doubtful_types)
    return decoded.interactions


def _joined(parts: Sequence[Interactions]) -> Interactions:
    """One after the other, in one buffer."""
    starts = np.cumsum([0, *(len(part.buffer) for part in parts)])
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    shift = np.repeat(starts[:-1], [len(part) for part in parts])
    columns["user_start"] += shift
    columns["item_start"] += shift
    return Interactions(np.concatenate([part.buffer for part in parts]), **columns)


def _filled(
    times_ms: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Times with those that are absent (0) replaced by the one before."""
    latest = np.maximum.accumulate(np.where(times_ms > 0, np.arange(len(times_ms)), 0))
    return times_ms[latest]
