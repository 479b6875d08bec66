"""The suite ends whatever happens in it, says where it hung, and leaves no process behind."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import janitor
import pytest
from crash_process import REPOSITORY, wait_for
from thread_states import runs

DEADLINE_S = 120.0
HANGS = """
import ctypes

def test_that_hangs():
    ctypes.{library}(None).pause()
"""
DIES = """
import os, signal, subprocess, sys
import janitor

WAITS = "import signal; signal.pause()"
PARENT = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); " + WAITS
janitor.clean_up_after_this_process()
parent = subprocess.Popen(
    [sys.executable, "-c", PARENT, sys.executable, "-c", WAITS],
    stdout=subprocess.PIPE, text=True, start_new_session=True,
)
print(parent.pid, parent.stdout.readline().strip(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def run(command: list[str], **environment: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("library", ["CDLL", "PyDLL"])
def test_a_test_that_hangs_in_c_ends_and_says_where(library: str, tmp_path: Path) -> None:
    """CDLL gives Python's lock back before the call; PyDLL keeps it, so that no Python thread can act."""
    (tmp_path / "test_hang.py").write_text(HANGS.format(library=library))
    config = ["-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    soon = ["-o", "timeout=1", "-o", "faulthandler_timeout=3"]
    code, output = run([sys.executable, "-m", "pytest", *config, *soon, str(tmp_path)])
    assert code != 0
    assert "in test_that_hangs" in output, output


def test_a_run_that_takes_too_long_ends_and_says_where(tmp_path: Path) -> None:
    """`.ci/run` with a `make` whose tests hang."""
    hanging = f"exec {sys.executable} -X faulthandler {tmp_path / 'hang.py'}"
    (tmp_path / "hang.py").write_text(HANGS.format(library="PyDLL") + "\ntest_that_hangs()\n")
    for name, script in (("make", f'[ "$1" = check ] || {hanging}'), ("apt-get", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    code, output = run(["bash", str(REPOSITORY / ".ci" / "run")], PATH=path, TEST_TIMEOUT_S="2")
    assert code != 0
    assert "in test_that_hangs" in output, output


def test_what_a_killed_run_started_ends_with_it(tmp_path: Path) -> None:
    """A process in a session of its own, and what that one started."""
    told = tmp_path / "told"
    with told.open("w") as output:
        code = subprocess.run(
            [sys.executable, "-c", DIES],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "tests" / "support")},
            stdout=output,
            timeout=DEADLINE_S,
            check=False,
        ).returncode
    assert code == -signal.SIGKILL
    left = list(map(int, told.read_text().split()))
    assert len(left) == 2
    try:
        wait_for(lambda: not any(map(runs, left)), f"the end of processes {left}", DEADLINE_S)
    finally:
        for process_id in filter(runs, left):
            os.kill(process_id, signal.SIGKILL)


def test_this_run_has_a_janitor() -> None:
    assert f":{os.getpid()}:" in os.environ[janitor.MARK]
