"""Interactions from files: delimited text, JSON lines and Parquet, compressed with gzip or not, row by row.

How a file is laid out is recognised (`livefactor.file_layout`): Livefactor's own has a header line with
`user_id`, `item_id` and any of `event_type`, `value`, `timestamp_ms`, `event_id`; JSON lines have one object
a line with the fields of `Interaction`, where `timestamp_ms` is `event_time_ms`.
"""

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import orjson

from livefactor.file_layout import (
    LOOKED_AT,
    NOTHING_WANTED,
    UNIT_WORDS,
    Layout,
    Wanted,
    delimited_layout,
    named_layout,
    split,
    time_ms,
)
from protos.events_pb2 import Interaction
from state.errors import PublishError
from state.store import ID_BYTES_MAX
from stream.intake.json_format import FIELD_UNKNOWN, SPELT_TWICE, WrongField, expected_type, named_fields

INT64_MAX = 2**63 - 1
LINE_LENGTH_MAX = 1 << 20
QUOTED_LINES_MAX = 1_000
"""How many lines a quoted cell may span."""

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

TIME_FIELD = "timestamp_ms"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no interaction: its line in the file, and why."""

    line: int
    reason: str


class _BadRowError(Exception):
    """Carries a reason from a field to the row it is in."""


def recognise(path: Path, wanted: Wanted = NOTHING_WANTED) -> Layout:
    """How a file is laid out, from its first rows.

    Raises PublishError for a file that is missing, empty, of another kind, or that can be read in two ways.
    """
    with _errors_of(path):
        kind = _kind(path)
        if kind == "parquet":
            from livefactor.parquet_files import parquet_layout

            return parquet_layout(path, wanted)
        with _open(path) as text:
            lines = [line for _, line in islice(_lines(text), LOOKED_AT) if line is not None]
        if kind == "json":
            return _json_layout(path, lines, wanted)
        return delimited_layout(str(path), lines, wanted)


def read_events(path: Path, layout: Layout | None = None) -> Iterator[Interaction | BadRow]:
    """Every row of a file, in order: see `read_lines`."""
    for _, row in read_lines(path, layout):
        yield row


def read_lines(path: Path, layout: Layout | None = None) -> Iterator[tuple[int, Interaction | BadRow]]:
    """Every row of a file with the number of its line, as the layout says or as `recognise` finds it.

    Raises PublishError as `recognise` does, and for a file that is cut short or damaged; rows before the
    damage have been yielded by then.
    """
    layout = layout or recognise(path)
    with _errors_of(path):
        if layout.kind == "parquet":
            from livefactor.parquet_files import parquet_rows

            for line, row in parquet_rows(path, layout):
                yield line, _row(line, {key: row[name] for key, name in layout.columns.items()}, layout)
            return
        with _open(path) as text:
            yield from _read_json(text, layout) if layout.kind == "json" else _read_delimited(text, layout)


def _kind(path: Path) -> str:
    """`parquet`, `json` or `delimited`, by the beginning of the content."""
    with _open_bytes(path) as raw:
        begin = raw.read(4_096)
    if begin[:4] == b"PAR1":
        return "parquet"
    if begin[:2] in (b"PK", b"\xfd7") or begin[:3] == b"BZh" or begin[:4] == b"\x28\xb5\x2f\xfd":
        raise PublishError(f"{path}: is an archive or compressed otherwise than with gzip: unpack it first")
    if b"\0" in begin and begin[:2] not in UTF16_MARKS:
        raise PublishError(f"{path}: is no text: delimited text, JSON lines and Parquet can be read")
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"\[\s*\{", text):
        raise PublishError(
            f"{path}: is one JSON array: write one object a line, for example with `jq -c '.[]'`"
        )
    return "json" if text[:1] == b"{" or ".jsonl" in path.suffixes else "delimited"


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """What reading raises, as PublishError that says which file."""
    try:
        yield
    except FileNotFoundError as error:
        raise PublishError(f"{path}: there is no such file") from error
    except EOFError as error:
        raise PublishError(
            f"{path}: the gzip data is cut short; the rows before the cut were read"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise PublishError(
            f"{path}: the gzip data is damaged ({error}); the rows before were read"
        ) from error
    except UnicodeError as error:
        raise PublishError(f"{path}: is no UTF-16 text, as its first bytes say: {error}") from error
    except OSError as error:
        raise PublishError(f"{path}: cannot be read: {error}") from error


def _open_bytes(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The content; whether it is compressed with gzip is told from the name, else from its first bytes."""
    raw = path.open("rb")
    if path.name.endswith(".gz") or raw.peek(2)[:2] == b"\x1f\x8b":
        raw.close()
        return gzip.open(path, "rb")
    return raw


def _open(path: Path) -> TextIO:
    """The file as text; bytes that are not UTF-8 become surrogates, which ids may not hold."""
    raw = _open_bytes(path)
    wide = raw.read(2) in UTF16_MARKS
    raw.seek(0)
    if wide:
        return io.TextIOWrapper(raw, encoding="utf-16", newline="")
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _lines(text: TextIO) -> Iterator[tuple[int, str | None]]:
    """The lines that are not blank, with their numbers; None instead of one that is too long."""
    number = 0
    while line := text.readline(LINE_LENGTH_MAX):
        number += 1
        if len(line) == LINE_LENGTH_MAX and not line.endswith("\n"):
            while (rest := text.readline(LINE_LENGTH_MAX)) and not rest.endswith("\n"):
                pass
            yield number, None
        elif line.strip():
            yield number, line


def _read_delimited(text: TextIO, layout: Layout) -> Iterator[tuple[int, Interaction | BadRow]]:
    lines = _lines(text)
    given_back: list[tuple[int, str | None]] = []
    if layout.header:
        next(lines)
    while (entry := given_back.pop() if given_back else next(lines, None)) is not None:
        line, content = entry
        if content is None:
            yield line, _too_long(line)
            continue
        try:
            cells = split(content, layout.separator)
        except csv.Error:
            yield line, _open_quote(line, content, lines, given_back, layout)
            continue
        yield line, _delimited_row(line, cells, layout)


def _open_quote(
    line: int,
    content: str,
    lines: Iterator[tuple[int, str | None]],
    given_back: list[tuple[int, str | None]],
    layout: Layout,
) -> Interaction | BadRow:
    """The row whose first line does not end its quotes: it goes on, or one of them is wrong.

    It goes on up to a line that is a row by itself, which is `given_back`: there reading goes on.
    """
    last, whole = line, content
    for following, part in islice(lines, QUOTED_LINES_MAX):
        if part is None or _is_row(part, layout):
            given_back.append((following, part))
            break
        last, whole = following, whole + part
        if _is_row(whole, layout):
            return _delimited_row(line, split(whole, layout.separator), layout)
    span = f"line {line}" if last == line else f"lines {line} to {last}"
    at = content.rfind('"') + 1
    return BadRow(line, f"{span} lost: a quote, probably the one at character {at}, has no match")


def _is_row(text: str, layout: Layout) -> bool:
    """Whether a line has as many cells as there are columns, with all quotes matched."""
    try:
        return len(split(text, layout.separator)) == len(layout.names)
    except csv.Error:
        return False


def _delimited_row(line: int, cells: Sequence[str], layout: Layout) -> Interaction | BadRow:
    if len(cells) != len(layout.names):
        return BadRow(line, f"expected {len(layout.names)} fields, found {len(cells)}")
    return _row(line, {key: cells[at] for key, at in layout.positions}, layout)


def _row(line: int, cells: Mapping[str, Any], layout: Layout) -> Interaction | BadRow:
    """The interaction in the cells of one row, by field."""
    value, time = cells.get("value"), cells.get(TIME_FIELD)
    try:
        return _interaction(
            cells,
            value=None if value is None or value == "" else _number(value, layout),
            time_ms=0 if time is None or time == "" else _time(time, layout),
        )
    except _BadRowError as error:
        return BadRow(line, str(error))


def _json_layout(path: Path, lines: Sequence[str], wanted: Wanted) -> Layout:
    """Objects with the fields of Interaction; else what their names are like."""
    rows = [row for line in lines if isinstance(row := _json_of(line), dict)]
    names = dict.fromkeys(name for row in rows for name in row)
    own = not rows or any(not isinstance(named_fields(row), WrongField) for row in rows)
    if own and not wanted.columns and not wanted.time_unit:
        return Layout("json", "", True, tuple(names), {}, "ms", strict=True)
    return named_layout("json", str(path), tuple(names), rows, wanted)


def _json_of(content: str) -> object:
    try:
        return orjson.loads(content.encode("utf-8", "surrogateescape"))
    except orjson.JSONDecodeError:
        return None


def _read_json(text: TextIO, layout: Layout) -> Iterator[tuple[int, Interaction | BadRow]]:
    for line, content in _lines(text):
        yield line, _too_long(line) if content is None else _json_row(line, content, layout)


def _too_long(line: int) -> BadRow:
    return BadRow(line, f"the line is longer than {LINE_LENGTH_MAX:,} characters")


def _json_row(line: int, content: str, layout: Layout) -> Interaction | BadRow:
    try:
        fields = orjson.loads(content.encode("utf-8", "surrogateescape"))
    except orjson.JSONDecodeError:
        return BadRow(line, "not JSON")
    if not isinstance(fields, dict):
        return BadRow(line, "not a JSON object")
    if not layout.strict:
        return _row(line, {key: fields.get(name) for key, name in layout.columns.items()}, layout)
    fields = named_fields(fields)
    if isinstance(fields, WrongField):
        return BadRow(line, _words_for(fields))
    value = fields.get("value")
    try:
        return _interaction(
            fields,
            value=None if value is None else _finite(float(value)),
            time_ms=_in_range(fields.get("event_time_ms", 0), "event_time_ms"),
        )
    except _BadRowError as error:
        return BadRow(line, str(error))


def _words_for(wrong: WrongField) -> str:
    """The same words for all rows that have this fault."""
    if wrong.code == FIELD_UNKNOWN:
        return f"unknown field {wrong.name!r}"
    if wrong.code == SPELT_TWICE:
        return f"{wrong.name} comes in two spellings with different values"
    return f"{wrong.name} is not {expected_type(wrong.name)}"


def _interaction(cells: Mapping[str, Any], value: float | None, time_ms: int) -> Interaction:
    return Interaction(
        user_id=_id(cells, "user_id"),
        item_id=_id(cells, "item_id"),
        event_type=_text(cells, "event_type"),
        value=value,
        event_time_ms=time_ms,
        event_id=_text(cells, "event_id"),
    )


def _id(cells: Mapping[str, Any], name: str) -> str:
    text = _text(cells, name)
    if not text:
        raise _BadRowError(f"{name} is empty")
    if len(text.encode()) > ID_BYTES_MAX:
        raise _BadRowError(f"{name} is longer than {ID_BYTES_MAX} bytes")
    return text


def _text(cells: Mapping[str, Any], name: str) -> str:
    text = cells.get(name)
    if not isinstance(text, str):
        text = _as_text(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _BadRowError(f"{name} is not UTF-8") from None
    return text


def _as_text(content: object) -> str:
    """What is no text as text; a whole number that was stored as a float has no fraction."""
    if content is None:
        return ""
    return str(int(content) if isinstance(content, float) and content.is_integer() else content)


def _number(content: object, layout: Layout) -> float:
    text = str(content)
    if layout.separator == ";":
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        raise _BadRowError(f"{layout.columns['value']} is not a number") from None
    return _finite(value)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise _BadRowError("value is not finite")
    return value


def _time(content: object, layout: Layout) -> int:
    name = layout.columns[TIME_FIELD]
    try:
        found = time_ms(str(content), layout.unit)
    except (ValueError, OverflowError):
        unit = UNIT_WORDS[layout.unit]
        raise _BadRowError(f"{name} is not a number of {unit}, nor a time in ISO 8601") from None
    return _in_range(found, name)


def _in_range(time_ms: int, name: str) -> int:
    if not 0 <= time_ms <= INT64_MAX:
        raise _BadRowError(f"{name} is out of range")
    return time_ms
