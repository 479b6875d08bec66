"""Where commands print: tables for people, plain lines for pipes, one JSON document with `--json`."""

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import orjson

PLAIN_INTERVAL_S = 5.0

COMMANDS_TERMINALS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but the line feed, what changes the direction of text, and halves of characters."""


def printable(text: str) -> str:
    """Text of strangers, so that a terminal shows it and does nothing else: an escape reads \\x1b."""
    return COMMANDS_TERMINALS.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def person_watches() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def person_watches_progress() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


def print_json(value: object) -> None:
    """One JSON document on standard output, indented when a person watches."""
    print(_json_text(value, orjson.OPT_INDENT_2 if person_watches() else 0))


def print_line(value: Mapping[str, object] | Sequence[object]) -> None:
    """One line at once, of a stream of them: a JSON document, or cells between tabs."""
    print(_json_text(value, 0) if isinstance(value, Mapping) else _tabbed(value), flush=True)


def _json_text(value: object, option: int) -> str:
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | option).decode()
    return COMMANDS_TERMINALS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """A table for a person; otherwise lines of tab-separated values under a line of column names."""
    if not person_watches():
        for line in (columns, *rows):
            print(_tabbed(line))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title and escape(_plain(title)), title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(_plain(cell)) for cell in row))
    Console().print(table)


def print_fields(fields: Mapping[str, object]) -> None:
    """`name: value` lines."""
    for name, value in fields.items():
        print(f"{name}: {_plain(value)}")


def print_facts(facts: Mapping[str, object], as_json: bool) -> None:
    """What a command found or did, for a program or for a person."""
    print_json(facts) if as_json else print_fields(facts)


def when(time_ms: int) -> str:
    """A moment, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ms / 1000))


def note(text: str) -> None:
    """A line for the operator on standard error, which never disturbs data on standard output."""
    print(printable(text), file=sys.stderr, flush=True)


def _tabbed(cells: Sequence[object]) -> str:
    return "\t".join(map(_plain, cells))


def _plain(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4f}"
    return printable(str(cell).replace("\t", " ").replace("\n", " "))


class Advance(Protocol):
    """Tells how far a long piece of work has come."""

    def __call__(self, done: int, total: int | None = None, detail: str = "") -> None:
        """`done`: pieces finished so far, in all; `total` where it was not known at the start.

        `detail`: how it goes, in a few words.
        """
        ...


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """A bar on standard error when a person watches it, a plain line every few seconds otherwise."""
    if not person_watches_progress():
        yield _PlainProgress(description, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, detail="")

        def advance(done: int, total: int | None = None, detail: str = "") -> None:
            bar.update(task, completed=done, total=total, detail=detail)

        yield advance


class _PlainProgress:
    """Implements `Advance` with a line now and then."""

    def __init__(self, description: str, total: int | None) -> None:
        self._description, self._total = description, total
        self._next_s = time.monotonic() + PLAIN_INTERVAL_S

    def __call__(self, done: int, total: int | None = None, detail: str = "") -> None:
        self._total = total if total is not None else self._total
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + PLAIN_INTERVAL_S
            of = f" of {self._total:,}" if self._total is not None else ""
            note(f"{self._description}: {done:,}{of}" + (f"  {detail}" if detail else ""))
