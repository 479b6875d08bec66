"""The generated code in `protos/` is what the definitions beside it generate."""

from pathlib import Path

import pytest
from grpc_tools import protoc

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = ("protos/admin.proto", "protos/drift.proto", "protos/scorer.proto")
DEFINITIONS = ("protos/events.proto", *SERVICES)


def generate(*arguments: str) -> None:
    """Run protoc with imports from the root of the repository, as `make protos` does."""
    assert protoc.main(["protoc", f"-I{REPOSITORY}", *arguments]) == 0


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("protos")
    generate(f"--python_out={out}", f"--pyi_out={out}", *DEFINITIONS)
    generate(f"--grpc_python_out={out}", *SERVICES)
    return out / "protos"


def test_every_definition_is_generated() -> None:
    """A definition added to `protos/` must be added here and to `make protos`."""
    assert {f"protos/{path.name}" for path in (REPOSITORY / "protos").glob("*.proto")} == set(DEFINITIONS)


def test_generated_code_is_fresh(fresh: Path) -> None:
    """The committed files are byte for byte what protoc makes now; else run `make protos`."""
    committed = {path.name: path.read_bytes() for path in (REPOSITORY / "protos").glob("*_pb2*.py*")}
    generated = {path.name: path.read_bytes() for path in fresh.iterdir()}
    assert committed.keys() == generated.keys()
    assert [name for name in generated if committed[name] != generated[name]] == []
