"""What `livefactor replay` says of a file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 1_700.0


def replayed(path: Path, *options: str) -> dict[str, Any]:
    """The object that `livefactor replay --json` prints; what it says beside that is shown as it comes."""
    done = subprocess.run(
        [sys.executable, "-m", "livefactor.cli", "replay", str(path), "--json", *options],
        stdout=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
