"""A report as one page, `index.html`, which needs nothing but itself, and its figures as JSON beside it.

The page is `page.html` with its style, its scripts and two blocks of JSON: the figures, equal to those of the
file, and the numbers of the plots. `charts.js` draws them as SVG, `parts.js` is what any page is made of, and
each kind of report has a script of its own. Everything that came from outside is text to them, never markup,
and a `<` in the JSON is written as an escape, so no name of a file or of a model can end a block.

Why no plotting library: plotly's script alone is 3 MB a page, and smaller ones draw lines but neither bars
with intervals nor the calibration plot; what is needed here is a few hundred lines. Why no template engine:
there is nothing to repeat on the Python side, so `string.Template` is enough.
"""

import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

import orjson

from state.errors import LivefactorError

PAGE = "index.html"


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


def write(directory: Path, kind: str, facts: Mapping[str, object], plots: Mapping[str, object]) -> Path:
    """Write the page of a `kind` of report, whose script is `<kind>.js`, and its facts as `<kind>.json`.

    The page's path. Raises ReportError.
    """
    figures = encoded(facts)
    page = render(kind, figures, encoded(plots))
    try:
        (directory / f"{kind}.json").write_bytes(figures)
        (directory / PAGE).write_text(page, encoding="utf-8")
    except OSError as error:
        raise _unwritable(directory, error) from error
    return directory / PAGE


def render(kind: str, figures: bytes, series: bytes) -> str:
    """The page around two JSON documents."""
    template, style, *scripts = (
        (resources.files("livefactor.page") / name).read_text(encoding="utf-8")
        for name in ("page.html", "style.css", "charts.js", "parts.js", f"{kind}.js")
    )
    return Template(template).substitute(
        kind=kind, style=style, scripts="".join(scripts), figures=inert(figures), series=inert(series)
    )


def encoded(value: object) -> bytes:
    """JSON; what is not finite is null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def inert(document: bytes) -> str:
    """The same JSON without any `<`, so that it cannot end the element that it stands in."""
    return document.decode().replace("<", "\\u003c")


def shown(name: str) -> str:
    """The name of a file as text, as far as it is any."""
    return name.encode(errors="replace").decode()


def _unwritable(directory: Path, error: OSError) -> ReportError:
    return ReportError(f"no report can be written to {directory}: {error.strerror or error}")
