"""The core is pure: it takes time, chance and data as arguments, and knows nothing that has them.

What packages may import from each other is in `pyproject.toml`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from stream.lineage.fingerprint import PROGRAM, REPLAY_PROGRAM, program

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("serving", "state", "stream")
SHELLS = (
    "serving.admin",
    "serving.drift",
    "serving.refresh",
    "serving.rpc",
    "serving.server",
    "serving.service",
    "state.rocksdb",
    "stream.allocation",
    "stream.kafka",
    "stream.lineage",
    "stream.loop",
    "stream.outgoing",
    "stream.run",
    "stream.webhooks",
)
"""Rooms and modules that touch the world; every other one is of the core."""

WORLD = {
    *("aiohttp", "asyncio", "confluent_kafka", "grpc", "grpc_health", "grpc_reflection", "rocksdict"),
    *("datetime", "random", "secrets", "time", "uuid"),
    *("ctypes", "gc", "os", "shutil", "signal", "socket", "subprocess", "tempfile", "threading"),
    *("logging", "prometheus_client", "structlog"),
}
IMPURE_CALLS = {"breakpoint", "input", "open", "print"}

GRAPH = grimp.build_graph(
    *PACKAGES, "protos", include_external_packages=True, exclude_type_checking_imports=True
)


def shell_of(module: str) -> str | None:
    return next((shell for shell in SHELLS if module == shell or module.startswith(f"{shell}.")), None)


MODULES = sorted(module for module in GRAPH.modules if module.split(".")[0] in PACKAGES)
CORE = [module for module in MODULES if shell_of(module) is None]


def source_of(module: str) -> str:
    path = REPOSITORY / module.replace(".", "/")
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


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


@pytest.mark.parametrize("module", CORE)
def test_the_core_is_pure(module: str) -> None:
    """Directly or through whatever it imports."""
    reached = GRAPH.find_upstream_modules(module)
    assert reached & WORLD == set()
    assert [name for name in reached if shell_of(name)] == []
    assert list(impurities(source_of(module))) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_touches_the_world(shell: str) -> None:
    """What does not belongs to the core."""
    inside = [module for module in MODULES if shell_of(module) == shell]
    assert any(GRAPH.find_upstream_modules(module) & WORLD for module in inside)


@pytest.mark.parametrize(
    ("module", "patterns"), [("stream.engine", PROGRAM), ("stream.replay", REPLAY_PROGRAM)]
)
def test_a_code_hash_covers_all_that_is_imported_and_no_shell(module: str, patterns: tuple[str, ...]) -> None:
    """An edit of the Kafka client begins no new base; one of the replay makes measured trials stale."""
    needed = {name for name in GRAPH.find_upstream_modules(module) if name in MODULES}
    hashed = {name.removesuffix(".py").replace("/", ".") for name in program(patterns)}
    assert needed | {module, "protos.events_pb2"} <= hashed
    assert [name for name in hashed if shell_of(name)] == []


def test_the_core_is_not_empty() -> None:
    assert set(CORE) >= {"state.kernels", "state.store", "stream.events"}


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
