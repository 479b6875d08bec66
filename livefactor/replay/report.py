"""A replay as one page, `index.html`, which needs nothing but itself, and its figures as `replay.json`.

The page is `page/report.html` with its style, its scripts and two blocks of JSON: the figures, equal to those
of `replay.json`, and the numbers of the plots (`series`). The scripts draw them as SVG. Everything that came
from outside is text to them, never markup, and a `<` in the JSON is written as an escape, so neither the name
of a file nor that of a model can end a block.

Why no plotting library: plotly's script alone is 3 MB a page, and smaller ones draw lines but neither bars
with intervals nor the calibration plot; what is needed here is a few hundred lines. Why no template engine:
there is nothing to repeat on the Python side, so `string.Template` is enough.
"""

import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import orjson

from livefactor.replay.recording import Recording
from livefactor.replay.run import Measured, masks
from livefactor.replay.series import series
from state.errors import LivefactorError

PAGE = "index.html"
FIGURES = "replay.json"


class ReportError(LivefactorError):
    """A report cannot be written where it should be: name another directory, or make room."""


def prepare(directory: Path) -> None:
    """Make the directory if there is none. Raises ReportError unless files can be written there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise _unwritable(directory, error) from error


def write(
    directory: Path, name: str, recording: Recording, measured: Measured, facts: Mapping[str, Any]
) -> Path:
    """Write page and figures of a traced replay of the file `name`; the page's path. Raises ReportError."""
    figures = encoded(facts)
    page = render(figures, encoded(plots(name, recording, measured, facts["ranking"]["k"])))
    try:
        (directory / FIGURES).write_bytes(figures)
        (directory / PAGE).write_text(page, encoding="utf-8")
    except OSError as error:
        raise _unwritable(directory, error) from error
    return directory / PAGE


def plots(name: str, recording: Recording, measured: Measured, k: int) -> dict[str, object]:
    """What the page shows besides the figures; times in milliseconds, 0 where the stream has none."""
    assert measured.trace is not None, "only a traced replay can be plotted"
    times_ms, scores = recording.stream.time_ms, measured.result.scores
    return {
        "file": name.encode(errors="replace").decode(),
        "first_ms": int(times_ms[0]),
        "last_ms": int(times_ms[-1]),
        **series(scores, measured.trace, masks(scores), k),
    }


def render(figures: bytes, series: bytes) -> str:
    """The page around two JSON documents."""
    page = resources.files("livefactor.replay.page")
    template, style, charts, script = (
        (page / name).read_text(encoding="utf-8")
        for name in ("report.html", "report.css", "charts.js", "report.js")
    )
    return Template(template).substitute(
        style=style, charts=charts, script=script, figures=inert(figures), series=inert(series)
    )


def encoded(value: object) -> bytes:
    """JSON; what is not finite is null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def inert(document: bytes) -> str:
    """The same JSON without any `<`, so that it cannot end the element that it stands in."""
    return document.decode().replace("<", "\\u003c")


def _unwritable(directory: Path, error: OSError) -> ReportError:
    return ReportError(f"no report can be written to {directory}: {error.strerror or error}")
