"""How a file of interactions is laid out: separator, header, which column is what, and the unit of times.

Files come from everywhere, so what can be told from the names of the columns and from the first rows is
told, and said in `Layout.notes`; what could be read in two ways is refused with both.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from state.errors import PublishError
from stream.intake.event_types import fold

FIELDS = ("user_id", "item_id", "event_type", "value", "timestamp_ms", "event_id")
"""What a row may hold; the first two are needed."""

_NAMES = {
    "user_id": (
        "userid",
        "user uid",
        "customerid customer reviewerid visitorid memberid accountid clientid profileid",
        "sessionid session",
    ),
    "item_id": (
        "itemid",
        "item iid",
        "movieid productid asin bookid isbn trackid songid artistid videoid gameid businessid articleid "
        "newsid contentid recipeid animeid sku showid filmid",
        "movie product book track song artist video game article parentasin",
    ),
    "event_type": (
        "eventtype",
        "event action behavior behaviour interaction behaviortype interactiontype type",
    ),
    "value": (
        "value",
        "rating ratings stars score overall strength weight",
        "count counts plays playcount quantity listens",
    ),
    "timestamp_ms": (
        "timestampms eventtimems",
        "timestamp time ts datetime eventtime eventtimestamp unixreviewtime unixtime unixtimestamp createdat "
        "date ratedat reviewdate reviewtime invoicedate",
    ),
    "event_id": ("eventid",),
}

ALIASES = {key: tuple(tuple(group.split()) for group in groups) for key, groups in _NAMES.items()}
"""Names of columns, folded, by field; an earlier group goes before a later one."""

IN_MILLISECONDS = {"timestampms", "eventtimems"}
"""Names that say the unit."""

UNITS: Mapping[str, float] = {"s": 1_000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""Milliseconds in each unit of time."""

UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}

SEPARATORS = ("::", "\t", ";", ",", "|")
SEPARATOR_WORDS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars", "::": "double colons"}

LOOKED_AT = 100
"""How many rows a layout is told from."""

SECONDS_NOW = (9e8, 5e9)
"""July 1998 to June 2128 in seconds; as milliseconds it would be January or February 1970."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller says of a file: columns by field, and the unit of times."""

    columns: Mapping[str, str] = field(default_factory=dict)
    time_unit: str | None = None


NOTHING_WANTED = Wanted()


@dataclass(frozen=True)
class Layout:
    """How to read a file of a `kind`: "delimited", "json" (lines) or "parquet".

    `separator`: between the columns, "" for JSON lines and Parquet; `header`: the first row has the names;
    `names`: of all columns, "1", "2", ... without a header; `columns`: name by field; `strict`: rows have the
    fields of Interaction and no others (JSON lines); `unit` of times that are numbers.
    """

    kind: str
    separator: str
    header: bool
    names: tuple[str, ...]
    columns: Mapping[str, str]
    unit: str
    strict: bool = False

    @cached_property
    def positions(self) -> Sequence[tuple[str, int]]:
        """(field, place among the columns)."""
        return [(key, self.names.index(name)) for key, name in self.columns.items()]

    @property
    def notes(self) -> list[str]:
        """What was recognised, in words; nothing for files as Livefactor's own."""
        read = [f"{name} as {key}" for key, name in self.columns.items() if key != name and self.header]
        read += [f"column {name} as {key}" for key, name in self.columns.items() if not self.header]
        found = []
        if read:
            found.append(f"reading {', '.join(read)}")
        if "timestamp_ms" in self.columns and (
            self.unit != "ms" or self.columns["timestamp_ms"] != "timestamp_ms"
        ):
            found.append(f"times are {UNIT_WORDS[self.unit]} since 1970 where they are numbers")
        if self.separator not in ("", ","):
            found.append(f"columns are separated by {SEPARATOR_WORDS[self.separator]}")
        if not self.header and self.separator:
            found.append("there is no header")
        left_out = [name for name in self.names if name not in self.columns.values()]
        if left_out and not self.strict:
            found.append(f"left out: {', '.join(left_out)}")
        return found


def delimited_layout(where: str, lines: Sequence[str], wanted: Wanted) -> Layout:
    """The layout of text with the first lines `lines`, none of them blank.

    Raises PublishError if there are none, or if it cannot be told or can be told in two ways.
    """
    if not lines:
        raise PublishError(f"{where}: there is nothing in it")
    separator = _separator(where, lines)
    width = _cells(lines[0], separator)
    rows = [split(line, separator) for line in lines if _cells(line, separator) == width]
    names = tuple(name.strip() for name in rows[0])
    if _is_header(rows, wanted):
        named_rows = [dict(zip(names, row, strict=True)) for row in rows[1:]]
        return named_layout("delimited", where, names, named_rows, wanted, separator)
    return _nameless_layout(where, rows, wanted, separator)


def named_layout(
    kind: str,
    where: str,
    names: Sequence[str],
    rows: Sequence[Mapping[str, object]],
    wanted: Wanted,
    separator: str = "",
) -> Layout:
    """The layout of a table whose columns have names; `rows` are the first ones."""
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise PublishError(
            f"{where}: columns found: {', '.join(names)}; repeated {', '.join(map(repr, doubled))}"
        )
    columns = dict(_asked(where, names, wanted))
    for key in FIELDS:
        if key not in columns and (found := _find(where, key, names, columns)):
            columns[key] = found
    missing = [key for key in FIELDS[:2] if key not in columns]
    if missing:
        raise PublishError(
            f"{where}: columns found: {', '.join(names)}; none of them looks like {' or '.join(missing)}. "
            f"Say which is which: --columns user_id=...,item_id=... (fields: {', '.join(FIELDS)})"
        )
    ordered = {key: columns[key] for key in FIELDS if key in columns}
    return Layout(kind, separator, True, tuple(names), ordered, _unit(where, ordered, rows, wanted))


def split(line: str, separator: str) -> list[str]:
    """The cells of one line. Raises csv.Error where quotes do not match."""
    text = line.rstrip("\r\n")
    if separator in ("::", "\t"):
        return [
            cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell
            for cell in text.split(separator)
        ]
    if '"' not in text:
        return text.split(separator)
    return next(csv.reader([text], delimiter=separator, strict=True), [])


def time_ms(text: str, unit: str) -> int:
    """Milliseconds since 1970 of a number in `unit`, or of a time in ISO 8601 (UTC where it names no zone).

    Raises ValueError if it is neither.
    """
    if unit == "ms" and text.isdecimal():
        return int(text)
    try:
        return round(float(text) * UNITS[unit])
    except ValueError:
        when = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return round(when.timestamp() * 1_000)


def _separator(where: str, lines: Sequence[str]) -> str:
    """What divides the first line into known names, else most lines into as many cells, two or more."""
    fitting: dict[str, int] = {}
    for separator in SEPARATORS:
        counts = [_cells(line, separator) for line in lines]
        count = counts[0]
        most = sum(each == count for each in counts) * 2 > len(counts)
        if count > 1 and (most or _known_names(split(lines[0], separator))):
            fitting[separator] = count
    if not fitting and any(_cells(lines[0], each) == 0 for each in SEPARATORS):
        raise PublishError(f"{where}: in the first line a quote has no match: {_shown(lines[0])}")
    candidates = [each for each in fitting if _known_names(split(lines[0], each))] or list(fitting)
    if "::" in candidates:
        return "::"
    if not candidates:
        tried = ", ".join(SEPARATOR_WORDS.values())
        raise PublishError(
            f"{where}: no separator divides its lines into columns (tried {tried}); "
            f"the first line is {_shown(lines[0])}"
        )
    widest = [each for each in candidates if fitting[each] == max(fitting[other] for other in candidates)]
    if len(widest) > 1:
        readings = "; ".join(f"by {SEPARATOR_WORDS[each]}: {split(lines[0], each)!r}" for each in widest)
        raise PublishError(
            f"{where}: its lines can be read in two ways: {readings}. Use one separator throughout"
        )
    return widest[0]


def _cells(line: str, separator: str) -> int:
    """How many cells a line has, 0 if quotes do not match."""
    try:
        return len(split(line, separator))
    except csv.Error:
        return 0


def _known_names(cells: Sequence[str]) -> int:
    """How many cells are a name of a user or an item."""
    return sum(_stem(cell) in group for cell in cells for key in FIELDS[:2] for group in ALIASES[key])


def _is_header(rows: Sequence[Sequence[str]], wanted: Wanted) -> bool:
    """Whether the first row has names: known ones, those that were asked for, or texts above numbers."""
    first, rest = rows[0], rows[1:]
    if _known_names(first) or any(name in first for name in wanted.columns.values() if not name.isdecimal()):
        return True
    if any(_is_number(cell) for cell in first):
        return False
    above_numbers = [
        position
        for position in range(len(first))
        if rest and all(position < len(row) and _is_number(row[position]) for row in rest)
    ]
    return bool(above_numbers)


def _nameless_layout(where: str, rows: Sequence[Sequence[str]], wanted: Wanted, separator: str) -> Layout:
    """The layout of a table without a header: user, item, and then a value, a time or both."""
    width = len(rows[0])
    names = tuple(str(position + 1) for position in range(width))
    columns = dict(_asked(where, names, wanted))
    if not columns:
        times = [
            position
            for position in range(2, width)
            if _are_times(row[position : position + 1] for row in rows)
        ]
        values = [
            position
            for position in range(2, width)
            if position not in times
            and all(_is_number("".join(row[position : position + 1])) for row in rows)
        ]
        if width > 4 or len(times) > 1 or len(values) > 1 or len(times) + len(values) < width - 2:
            raise PublishError(
                f"{where}: no header, and {width} columns that do not tell what they are: "
                f"{', '.join(map(_shown, rows[0][:8]))}. Say which is which by number: "
                "--columns user_id=1,item_id=2,value=3,timestamp_ms=4"
            )
        columns = {"user_id": "1", "item_id": "2"}
        if values:
            columns["value"] = names[values[0]]
        if times:
            columns["timestamp_ms"] = names[times[0]]
    if missing := [key for key in FIELDS[:2] if key not in columns]:
        raise PublishError(f"{where}: --columns does not say which column is {' or '.join(missing)}")
    named_rows = [dict(zip(names, row, strict=False)) for row in rows]
    return Layout("delimited", separator, False, names, columns, _unit(where, columns, named_rows, wanted))


def _asked(where: str, names: Sequence[str], wanted: Wanted) -> Mapping[str, str]:
    """The columns that were asked for, which must be there."""
    for key, name in wanted.columns.items():
        if name not in names:
            raise PublishError(
                f"{where}: --columns {key}={name}: there is no such column; there are {', '.join(names)}"
            )
    return wanted.columns


def _find(where: str, key: str, names: Sequence[str], taken: Mapping[str, str]) -> str | None:
    """The column that holds a field by its name; None if there is none."""
    if key in names:
        return key
    free = [name for name in names if name not in taken.values()]
    for group in ALIASES[key]:
        found = [name for name in free if _stem(name) in group]
        if len(found) > 1 and key in FIELDS[:2]:
            readings = " or ".join(f"--columns {key}={name}" for name in found)
            raise PublishError(f"{where}: {' and '.join(found)} may both be the {key}: say {readings}")
        if found:
            return found[0]
    return None


def _stem(name: str) -> str:
    """A column's name as `ALIASES` has it; a type after a colon, as in RecBole's files, is none of it."""
    return fold(name.partition(":")[0])


def _unit(
    where: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, object]], wanted: Wanted
) -> str:
    """The unit of times: as it was asked for, as the name says, or by the size of the first ones."""
    name = columns.get("timestamp_ms")
    if wanted.time_unit or name is None:
        return wanted.time_unit or "ms"
    texts = (str(row.get(name, "")) for row in rows)
    times = [float(text.replace(",", ".")) for text in texts if _is_number(text)]
    times = [each for each in times if each != 0]
    if not times:
        return "ms"
    if _stem(name) in IN_MILLISECONDS:
        if all(SECONDS_NOW[0] <= each <= SECONDS_NOW[1] for each in times):
            raise PublishError(
                f"{where}: {name} {times[0]:.0f} is {_day(times[0] / 1_000)} as milliseconds and "
                f"{_day(times[0])} as seconds: say --time-unit ms or --time-unit s"
            )
        return "ms"
    units = {_unit_of(each) for each in times}
    if len(units) > 1:
        looks = " and like ".join(UNIT_WORDS[each] for each in sorted(units))
        raise PublishError(
            f"{where}: {name} has times that look like {looks}: say --time-unit s, ms, us or ns"
        )
    return units.pop()


def _unit_of(time: float) -> str:
    """The unit in which a number is a time between 1973 and 5138; small numbers are seconds."""
    size = abs(time)
    return "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"


def _are_times(cells: Iterable[Sequence[str]]) -> bool:
    """Whether all are times: numbers as large as seconds since 1973, or ISO 8601 with a year."""
    for cell in cells:
        text = cell[0] if cell else ""
        if _is_number(text):
            if float(text.replace(",", ".")) < 1e8:
                return False
        else:
            try:
                time_ms(text, "ms")
            except ValueError:
                return False
    return True


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?(\d+([.,]\d*)?|\.\d+)([eE][+-]?\d+)?\s*", text) is not None


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _shown(text: str) -> str:
    short = text.strip()
    return repr(short if len(short) <= 60 else short[:60] + "...")
