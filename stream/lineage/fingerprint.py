"""What the same log must be learnt with to give the same bits."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding as llvm
import orjson

import stream
from stream.config import LearnerSettings

LIBRARIES = ("numba", "numpy", "llvmlite", "protobuf", "orjson")
LEARNT_FROM = ("decode", "model", "learning", "als", "sgd", "prequential")
"""Sections of the settings that decide what is learnt; the others decide where and how fast."""

ROOT = Path(str(stream.__file__)).parents[1]
PROGRAM = (
    "protos/*.py",
    "state/*.py",
    "state/scoring/*.py",
    "stream/intake/*.py",
    "stream/learning/*.py",
    "stream/walk/*.py",
    "stream/evaluation/*.py",
    "stream/drift/*.py",
    *(
        f"stream/{name}.py"
        for name in (
            *("admission", "cloud_events", "config", "control", "dead_letters", "effects", "engine"),
            *("events", "exclusion", "interactions", "residency", "sampling", "step"),
        )
    ),
)
"""Source files, as glob patterns, that decide the bits of the state: not those that only move them."""

REPLAY_PROGRAM = (*PROGRAM, "stream/replay.py")
"""Those that decide what a replay measures."""

NOT_LEARNT_FROM = {"learning": {"batch_records_max", "poll_timeout_ms"}}
"""How records fall into micro-batches is in the schedule already."""


def fingerprint(settings: LearnerSettings) -> str:
    """Hash of settings, program, libraries and processor: 32 hexadecimal digits."""
    facts = {
        "settings": learnt_settings(settings),
        "history_max": settings.state.history_max,
        "items_max": settings.state.items_max,
        "rows_max": settings.state.rows_max,
        "framing": settings.topics.framing,
        "code": code_hash(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "processor": llvm.get_host_cpu_name(),
        "features": llvm.get_host_cpu_features().flatten(),
    }
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def learnt_settings(settings: LearnerSettings) -> dict[str, object]:
    """The settings that decide what is learnt, as plain values."""
    return {
        section: getattr(settings, section).model_dump(mode="json", exclude=NOT_LEARNT_FROM.get(section))
        for section in LEARNT_FROM
    }


def code_hash(patterns: Sequence[str] = PROGRAM) -> str:
    """Hash of the program that learns, or of other source files."""
    total = hashlib.sha256()
    for name, source in program(patterns).items():
        total.update(name.encode() + b"\0" + source + b"\0")
    return total.hexdigest()


def program(patterns: Sequence[str]) -> dict[str, bytes]:
    """Source files by their path."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for pattern in patterns
        for path in sorted(ROOT.glob(pattern))
    }
