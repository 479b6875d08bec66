"""What the import contracts in `pyproject.toml` cannot see: the core reaching the world without an import."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("serving", "state", "stream")
IMPURE_CALLS = {"breakpoint", "input", "open", "print"}


def shells() -> set[str]:
    """The modules that the core's contract names as exceptions, such as `stream.kafka`."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    contract = next(each for each in settings["contracts"] if each["name"].startswith("The core knows no"))
    return {line.removesuffix(" -> **") for line in contract["ignore_imports"]}


def core() -> list[Path]:
    """Every module that is pure."""
    files = (path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py")))
    outside = shells()
    return [
        path for path in files if ".".join(path.relative_to(REPOSITORY).with_suffix("").parts) not in outside
    ]


def impurities(source: str) -> Iterator[str]:
    """Calls that read or write the outside world, chance from numpy, and threads inside a kernel."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                yield f"line {node.lineno}: {name}()"
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="random"):
                yield f"line {node.lineno}: numpy.random"
            case ast.ImportFrom(module="numpy.random") | ast.alias(name="numpy.random"):
                yield f"line {node.lineno}: numpy.random"
            case ast.keyword(arg="parallel", value=ast.Constant(value=True)):
                yield f"line {node.value.lineno}: a parallel kernel: its sums depend on the threads"


@pytest.mark.parametrize("path", core(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_core_is_pure(path: Path) -> None:
    """The core takes time, chance and data as arguments; a new shell is named in `pyproject.toml`."""
    assert list(impurities(path.read_text())) == []


def test_core_is_not_empty() -> None:
    assert {path.stem for path in core()} >= {"kernels", "store", "events"}


@pytest.mark.parametrize(
    "source",
    [
        "print(1)",
        "open('f')",
        "np.random.default_rng(1)",
        "import numpy.random",
        "from numpy.random import default_rng",
        "@numba.njit(cache=True, parallel=True)\ndef f(): ...",
    ],
)
def test_impurity_is_noticed(source: str) -> None:
    assert len(list(impurities(source))) == 1


def test_no_package_under_tests() -> None:
    """An `__init__.py` there would make `tests/stream` shadow `stream`."""
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == []
