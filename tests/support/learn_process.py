"""The `livefactor learn` process from outside: its settings file, what it says and what it leaves."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crash_campaign import read_model
from crash_process import REPOSITORY, wait_for

from livefactor.settings import tables_to_toml
from state.errors import StoreError
from state.model import Model
from state.rocksdb.reader import RocksReader
from state.store import Head, OutboxRecord
from stream.config import LearnerSettings

START_S = 120.0


class LearnProcess:
    """`livefactor learn` under some settings; ended with the block it is used in.

    `sections`: the settings file's tables, one level deep. `folder`: where that file and the log are.
    """

    def __init__(self, sections: Mapping[str, Mapping[str, Any]], folder: Path, *flags: str) -> None:
        self.sections = sections
        self._log = folder / "learn.log"
        config = folder / "livefactor.toml"
        config.write_text(tables_to_toml(sections))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIVEFACTOR_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "livefactor.cli", "learn", *flags, "--config", str(config)],
                env={**inherited, "PYTHONPATH": str(REPOSITORY)},
                stdout=log,
                stderr=log,
            )

    def said(self) -> str:
        """Its output so far."""
        return self._log.read_text(errors="replace")

    def lines(self, event: str, problem: str = "") -> list[dict[str, Any]]:
        """What it has logged under this name so far, about a problem with such words."""
        whole = self.said().rpartition("\n")[0].splitlines()
        found = [json.loads(line) for line in whole if line.startswith("{")]
        return [line for line in found if line["event"] == event and problem in line.get("problem", "")]

    def wait_for_line(self, event: str, problem: str = "", deadline_s: float = START_S) -> dict[str, Any]:
        """The first of `lines`, as soon as there is one; fails if the process ends before."""

        def line() -> dict[str, Any] | None:
            ended = self._process.poll() is not None
            found = self.lines(event, problem)
            assert found or not ended, self.said()
            return found[0] if found else None

        return wait_for(line, f"{event!r} {problem!r} in the log", deadline_s)

    def stop(self, deadline_s: float = 30.0, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.signal(how)
        return self.wait(deadline_s)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, deadline_s: float = START_S) -> int:
        """Its exit code, as soon as it has ended."""
        return self._process.wait(deadline_s)

    def __enter__(self) -> "LearnProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def head_of(directory: Path) -> Head | None:
    """Where the store in a directory stands; None while there is none that can be opened."""
    try:
        reader = RocksReader(directory)
    except StoreError:
        return None
    try:
        return reader.head()
    finally:
        reader.close()


def outbox_of(directory: Path) -> list[OutboxRecord]:
    """What is in a store's outbox: records that no broker has acknowledged yet."""
    reader = RocksReader(directory)
    try:
        return [record for _, record in reader.outbox()]
    finally:
        reader.close()


def model_of(settings: LearnerSettings) -> Model:
    """The model that a learner which has ended left in its store."""
    reader = RocksReader(settings.state.directory)
    try:
        return read_model(settings, reader, reader.head().flushed_through)[0]
    finally:
        reader.close()
