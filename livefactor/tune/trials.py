"""What a search has measured so far, in a file that survives the search: one JSON object a line.

The first line says what the losses are about; a file about something else is refused. A last line that was
cut short is dropped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import orjson

from livefactor.tune.search import Candidate
from state.errors import ConfigError

FORMAT = "livefactor tune 1"
DIFFERENCES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate on the first `events`: its loss, None if it failed for the reason in `failure`."""

    candidate: Candidate
    events: int
    loss: float | None
    failure: str | None
    seconds: float


class Journal:
    """Trials by candidate and events, written as they come. `resumed` counts those of earlier searches."""

    def __init__(self, path: Path, about: Mapping[str, object]) -> None:
        """Take up the file or begin it.

        Raises ConfigError if it cannot be read or written, or is about something else.
        """
        self.path = path
        self._trials: dict[tuple[Candidate, int], Trial] = {}
        try:
            self._file = self._open(about)
        except OSError as error:
            raise ConfigError(f"{path}: the journal cannot be used: {error}; choose another --out") from error
        self.resumed = len(self._trials)

    def find(self, candidate: Candidate, events: int) -> Trial | None:
        """What is known of a candidate."""
        return self._trials.get((candidate, events))

    def add(self, trial: Trial) -> None:
        """Remember a trial."""
        self._trials[trial.candidate, trial.events] = trial
        self._file.write(orjson.dumps(asdict(trial), option=orjson.OPT_APPEND_NEWLINE))
        self._file.flush()

    def trials(self) -> list[Trial]:
        """Everything known, in the order measured."""
        return list(self._trials.values())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self, about: Mapping[str, object]) -> IO[bytes]:
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        header, *lines = whole.splitlines() or [b""]
        if whole:
            self._check(header, about)
            self._trials = {(trial.candidate, trial.events): trial for trial in self._read(lines)}
        elif content and FORMAT.encode() not in content:
            raise self._unreadable(1)
        file = self.path.open("r+b" if content else "wb")
        file.truncate(len(whole))
        file.seek(len(whole))
        if not whole:
            file.write(orjson.dumps({"format": FORMAT, "about": about}, option=orjson.OPT_APPEND_NEWLINE))
            file.flush()
        return file

    def _check(self, header: bytes, about: Mapping[str, object]) -> None:
        """Raise ConfigError unless the header says the same."""
        try:
            found = orjson.loads(header)
            theirs = dict(_flat(found["about"]))
            if found["format"] != FORMAT:
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._unreadable(1) from None
        ours = dict(_flat(orjson.loads(orjson.dumps(about))))
        differing = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        if differing:
            raise ConfigError(
                f"{self.path}: this journal is of another search; different: {_named(differing)}. "
                "Delete it to begin anew, or choose another --out"
            )

    def _read(self, lines: list[bytes]) -> Iterator[Trial]:
        for number, line in enumerate(lines, start=2):
            try:
                facts = orjson.loads(line)
                facts["candidate"] = tuple((str(name), value + 0) for name, value in facts["candidate"])
                yield Trial(**facts)
            except (ValueError, TypeError, KeyError):
                raise self._unreadable(number) from None

    def _unreadable(self, line: int) -> ConfigError:
        return ConfigError(
            f"{self.path}: line {line} is not of a journal of `livefactor tune`. "
            "Move it away to begin anew, or choose another --out"
        )


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _named(names: list[str]) -> str:
    more = len(names) - DIFFERENCES_SHOWN
    return ", ".join(names[:DIFFERENCES_SHOWN]) + (f" and {more} more" if more > 0 else "")
