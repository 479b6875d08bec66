"""Where tests find real interaction data, if it is there at all."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("LIVEFACTOR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def folder(name: str) -> Path:
    """The folder of a data set; the test is skipped where the data is not available."""
    path = ROOT / name
    if not path.is_dir():
        pytest.skip(f"real data {name} not found; set LIVEFACTOR_TEST_DATA to the folder that holds it")
    return path
