"""The same job in Quix Streams and in Kafka Streams; what they need is fetched once, into `.cache/bench/`."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "bench"
FETCH_S = 600.0
RUN_S = 900.0
QUIX = ("quixstreams>=3,<4", "numpy", "protobuf")


class PeerMissingError(Exception):
    """What a peer needs cannot be had here; the message says why."""


def quix_events_per_s(bootstrap: str, topic: str, events: int) -> float:
    """Speed of the job in Quix Streams 3. Raises PeerMissingError."""
    return _run([str(_quix_python()), str(HERE / "quix_job.py")], bootstrap, topic, events)


def kafka_streams_events_per_s(bootstrap: str, topic: str, events: int) -> float:
    """Speed of the job in Kafka Streams. Raises PeerMissingError."""
    jars = _streams_jars()
    classes = CACHE / "streams-classes"
    _fetch(["javac", "-cp", f"{jars}/*", "-d", str(classes), str(HERE / "java" / "StreamsJob.java")])
    command = ["java", "-Xmx1g", "-cp", f"{classes}:{jars}/*", "StreamsJob"]
    return _run(command, bootstrap, topic, events)


def _run(command: Sequence[str], bootstrap: str, topic: str, events: int) -> float:
    with TemporaryDirectory(prefix="livefactor-bench-") as folder:
        done = subprocess.run(
            [*command, bootstrap, topic, folder, str(events)],
            stdout=subprocess.PIPE,
            text=True,
            timeout=RUN_S,
            check=True,
        )
    result = json.loads(done.stdout.splitlines()[-1])
    return float(result["events"] / result["seconds"])


def _quix_python() -> Path:
    python = CACHE / "quix" / "bin" / "python"
    ready = CACHE / "quix" / "ready"
    if not ready.exists():
        shutil.rmtree(CACHE / "quix", ignore_errors=True)
        _fetch([sys.executable, "-m", "venv", str(CACHE / "quix")])
        _fetch([str(python), "-m", "pip", "install", "--quiet", *QUIX])
        ready.touch()
    return python


def _streams_jars() -> Path:
    jars = CACHE / "streams-jars"
    if not jars.is_dir():
        with TemporaryDirectory(dir=_made(CACHE)) as work:
            shutil.copy(HERE / "java" / "pom.xml", work)
            pom = f"--file={work}/pom.xml"
            _fetch(["mvn", "-q", "-B", pom, "dependency:copy-dependencies", f"-DoutputDirectory={work}/jars"])
            Path(work, "jars").rename(jars)
    return jars


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fetch(command: Sequence[str]) -> None:
    """Run a command that installs or compiles something."""
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=True)
    except FileNotFoundError as error:
        raise PeerMissingError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise PeerMissingError(f"{command[0]} took more than {FETCH_S:.0f} s") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout).strip().splitlines()[-1:]
        raise PeerMissingError(f"{' '.join(command[:4])} failed: {' '.join(reason)}") from error
