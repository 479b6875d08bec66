"""What a power cut or a damaged file leaves is a prefix of history, or is refused; never another state."""

import json
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_history import batches, log_sizes, open_engine
from crash_process import spawn

from state.digest import digest
from state.errors import StoreCorruptError

CUTS, FLIPS = 25, 25


@dataclass(frozen=True)
class History:
    """A store whose learner died, and what it was after each micro-batch.

    `synced`: bytes of each write-ahead log that had reached the disk; `synced_through`: the micro-batch then.
    """

    directory: Path
    algorithm: str
    digests: list[str]
    synced: dict[str, int]
    synced_through: int

    def copy(self, to: Path) -> Path:
        """A store to be damaged; the database's directory."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.directory, to)
        return to / "generation-000001"

    def recovered(self, directory: Path, *, learn_on: bool = False) -> int:
        """Open a store and see that it is what it once was; the micro-batch it stands at."""
        engine = open_engine(directory, self.algorithm)
        try:
            batch_seq = engine.store.head().batch_seq
            assert digest(engine.store) == self.digests[batch_seq]
            if learn_on:
                for records in list(batches())[batch_seq:]:
                    engine.process([records])
                assert digest(engine.store) == self.digests[-1]
            return batch_seq
        finally:
            engine.store.close()


@pytest.fixture(scope="module", params=["als", "sgd"])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    folder = tmp_path_factory.mktemp("history")
    notes = folder / "notes.json"
    process = spawn("crash_history.py", str(folder / "store"), request.param, str(notes))
    assert process.wait(240) == -9
    found = json.loads(notes.read_text())
    synced = found["synced"]
    return History(folder / "store", request.param, found["digests"], synced["sizes"], synced["batch_seq"])


def test_the_death_of_the_process_alone_loses_nothing(history: History, tmp_path: Path) -> None:
    """Without a power cut every committed micro-batch is there."""
    history.copy(tmp_path / "store")
    assert history.recovered(tmp_path / "store") == len(history.digests) - 1


def test_a_power_cut_leaves_a_prefix_of_history(history: History, tmp_path: Path) -> None:
    """Any part of the log that was not synced may be gone; what was synced is there."""
    chance = random.Random(1)
    reached = set()
    for cut in range(CUTS):
        database = history.copy(tmp_path / "store")
        newest = max(log_sizes(database))
        keep = chance.randint(history.synced.get(newest, 0), log_sizes(database)[newest])
        with (database / newest).open("r+b") as log:
            log.truncate(keep)
        batch_seq = history.recovered(tmp_path / "store", learn_on=cut % 5 == 0)
        assert batch_seq >= history.synced_through
        reached.add(batch_seq)
    assert len(reached) >= 5, "the cuts fell into too few different micro-batches to show anything"


def test_a_log_cut_anywhere_is_a_prefix_or_refused(history: History, tmp_path: Path) -> None:
    """Worse than any power cut: also what had been synced is gone, in whichever log."""
    chance = random.Random(2)
    for _ in range(CUTS):
        database = history.copy(tmp_path / "store")
        victim = chance.choice(sorted(log_sizes(database)))
        with (database / victim).open("r+b") as log:
            log.truncate(chance.randint(0, log_sizes(database)[victim]))
        _prefix_or_refused(history, tmp_path / "store")


@pytest.mark.parametrize("kind", ["*.log", "*.sst", "CURRENT", "MANIFEST-*"])
def test_flipped_bytes_are_never_another_state(history: History, tmp_path: Path, kind: str) -> None:
    """A damaged byte in a log, a table, the pointer or the manifest: an older state, or StoreCorruptError."""
    chance = random.Random(kind)
    refused = 0
    for _ in range(FLIPS):
        database = history.copy(tmp_path / "store")
        victim = chance.choice(sorted(database.glob(kind)))
        content = bytearray(victim.read_bytes())
        if content:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            victim.write_bytes(content)
        refused += _prefix_or_refused(history, tmp_path / "store")
    print(f"{history.algorithm} {kind}: {refused} of {FLIPS} refused", file=sys.stderr)


def _prefix_or_refused(history: History, directory: Path) -> bool:
    """Whether a damaged store is refused; otherwise it is what it once was."""
    try:
        history.recovered(directory)
    except StoreCorruptError:
        return True
    return False
