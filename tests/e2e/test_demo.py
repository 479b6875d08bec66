"""The demo as a newcomer sees it: it ends by itself, proves itself, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from livefactor.demo.watch import Watch
from state.errors import StoreError

pytestmark = pytest.mark.slow


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The demo in a process of its own, with temporary files under `folder`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "livefactor.cli", "demo", *arguments],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def processes_of(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"process (\d+)", text)]


def runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def assert_nothing_is_left(folder: Path, text: str) -> None:
    assert processes_of(text)
    assert not [process_id for process_id in processes_of(text) if runs(process_id)]
    assert list(folder.iterdir()) == []


def read_until(process: subprocess.Popen[str], pattern: str, deadline_s: float = 240.0) -> str:
    """Output up to the first line in which the pattern occurs."""
    assert process.stdout is not None
    end_s = time.monotonic() + deadline_s
    text = ""
    for line in process.stdout:
        text += line
        if re.search(pattern, line):
            return text
        assert time.monotonic() < end_s, text
    raise AssertionError(f"the demo ended before {pattern!r}:\n{text}")


def test_a_store_that_is_still_being_created_is_waited_for(tmp_path: Path):
    (tmp_path / "generation").write_text("generation-000001\n")
    Rdict(str(tmp_path / "generation-000001"), Options(raw_mode=True)).close()
    looks: list[float] = []
    with pytest.raises(StoreError):
        Watch(tmp_path, "topic", 0.35, check=lambda: looks.append(time.monotonic()))
    assert len(looks) >= 3


def test_the_demo_shows_everything_and_ends_with_exit_code_0(tmp_path: Path):
    with demo(tmp_path) as process:
        text, _ = process.communicate(timeout=280)
    assert process.returncode == 0, text
    assert "100,003 events published, 100,003 applied; the log is whole." in text
    assert "state verify agrees" in text
    clicked = re.findall(r"clicks (.+): answer with it in \d+ ms", text)
    assert len(clicked) == 3
    assert set(re.findall(r"because of (.+)", text)) <= set(clicked)
    assert re.search(r"because of .+", text)
    assert re.search(r"hit rate at 10 +live [\d.]+%, popularity [\d.]+%, neighbours [\d.]+%", text)
    assert re.search(r"learner killed after [\d,]+ of 30,000 further events", text)
    assert "\x1b" not in text
    assert_nothing_is_left(tmp_path, text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_cleans_up(tmp_path: Path, number: signal.Signals):
    with demo(tmp_path) as process:
        text = read_until(process, r"^\s+published at")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 130, text + rest
    assert "everything is cleaned up" in rest
    assert_nothing_is_left(tmp_path, text)


def test_a_kept_demo_answers_until_it_is_interrupted(tmp_path: Path):
    with demo(tmp_path, "--keep") as process:
        text = read_until(process, r"livefactor state inspect")
        command = re.search(r"^\s+livefactor (recommend .+)$", text, re.MULTILINE)
        assert command is not None
        asked = subprocess.run(
            [sys.executable, "-m", "livefactor.cli", *command[1].split()],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert asked.returncode == 0, asked.stderr
        assert len(asked.stdout.splitlines()) == 11
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert_nothing_is_left(tmp_path, text)
