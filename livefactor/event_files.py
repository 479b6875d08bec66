"""Interactions from CSV and JSON-lines files, compressed with gzip or not, row by row.

CSV: a header line with `user_id`, `item_id` and any of `event_type`, `value`, `timestamp_ms`, `event_id`.
JSON lines: one object a line with the fields of `Interaction`, where `timestamp_ms` is `event_time_ms`.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import orjson

from protos.events_pb2 import Interaction
from state.errors import PublishError
from state.store import ID_BYTES_MAX
from stream.intake.json_format import FIELD_UNKNOWN, SPELT_TWICE, WrongField, expected_type, named_fields

REQUIRED = ("user_id", "item_id")
CSV_COLUMNS = (*REQUIRED, "event_type", "value", "timestamp_ms", "event_id")
INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no interaction: its line in the file, and why."""

    line: int
    reason: str


class _BadRowError(Exception):
    """Carries a reason from a field to the row it is in."""


def read_events(path: Path) -> Iterator[Interaction | BadRow]:
    """Every row of a file, in order: see `read_lines`."""
    for _, row in read_lines(path):
        yield row


def read_lines(path: Path) -> Iterator[tuple[int, Interaction | BadRow]]:
    """Every row of a file with the number of its line; the ending before an optional `.gz` tells the format.

    Raises PublishError for a file that is missing, of another kind, without the needed columns, or cut
    short; rows before the damage have been yielded by then.
    """
    name = path.name.removesuffix(".gz")
    if not name.endswith((".csv", ".jsonl")):
        raise PublishError(f"{path}: expected a name that ends in .csv, .csv.gz, .jsonl or .jsonl.gz")
    try:
        with _open(path) as text:
            yield from _read_csv(path, text) if name.endswith(".csv") else _read_json(text)
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
    except OSError as error:
        raise PublishError(f"{path}: cannot be read: {error}") from error


def _open(path: Path) -> TextIO:
    """The file as text; bytes that are not UTF-8 become surrogates, which ids may not hold."""
    raw = gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # noqa: SIM115 the wrapper closes it
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _read_csv(path: Path, text: TextIO) -> Iterator[tuple[int, Interaction | BadRow]]:
    rows = csv.reader(text)
    columns = next(rows, [])
    _check_columns(path, columns)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield rows.line_num, BadRow(rows.line_num, f"not CSV: {error}")
            continue
        if row:
            yield rows.line_num, _csv_row(rows.line_num, columns, row)


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in CSV_COLUMNS]
    doubled = sorted({name for name in columns if columns.count(name) > 1})
    problems = [
        f"{what} {', '.join(repr(name) for name in names)}"
        for what, names in (("missing", missing), ("unknown", unknown), ("repeated", doubled))
        if names
    ]
    if problems:
        raise PublishError(
            f"{path}: columns found: {', '.join(columns) or 'none'}; {'; '.join(problems)}. "
            f"Needed: {', '.join(REQUIRED)}; optional: {', '.join(CSV_COLUMNS[2:])}"
        )


def _csv_row(line: int, columns: Sequence[str], row: Sequence[str]) -> Interaction | BadRow:
    if len(row) != len(columns):
        return BadRow(line, f"expected {len(columns)} fields, found {len(row)}")
    cells = dict(zip(columns, row, strict=True))
    try:
        return _interaction(
            cells,
            value=_number(cells["value"]) if cells.get("value") else None,
            time_ms=_whole_number(cells["timestamp_ms"]) if cells.get("timestamp_ms") else 0,
        )
    except _BadRowError as error:
        return BadRow(line, str(error))


def _read_json(text: TextIO) -> Iterator[tuple[int, Interaction | BadRow]]:
    for line, content in enumerate(text, start=1):
        if content.strip():
            yield line, _json_row(line, content)


def _json_row(line: int, content: str) -> Interaction | BadRow:
    try:
        fields = orjson.loads(content.encode("utf-8", "surrogateescape"))
    except orjson.JSONDecodeError:
        return BadRow(line, "not JSON")
    if not isinstance(fields, dict):
        return BadRow(line, "not a JSON object")
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
    text = cells.get(name) or ""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _BadRowError(f"{name} is not UTF-8") from None
    return text


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _BadRowError("value is not a number") from None
    return _finite(value)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise _BadRowError("value is not finite")
    return value


def _whole_number(text: str) -> int:
    try:
        return _in_range(int(text), "timestamp_ms")
    except ValueError:
        raise _BadRowError("timestamp_ms is not a whole number") from None


def _in_range(time_ms: int, name: str) -> int:
    if not 0 <= time_ms <= INT64_MAX:
        raise _BadRowError(f"{name} is out of range")
    return time_ms
