"""What a scorer still compiles once it answers: `python compiled_by_answers.py DIRECTORY`.

Follows the store in a directory and asks about everybody there; prints, as JSON, the kernels that were
compiled meanwhile.
"""

import json
import sys
from pathlib import Path

from numba.core.registry import CPUDispatcher

from serving.ranker import explain, recommend, score
from serving.refresh import Follower
from serving.replica import Bounds
from serving.warm_up import warm_up
from state.rocksdb.reader import RocksReader


def compiled() -> dict[str, int]:
    """Signatures of each kernel in this process."""
    values = [value for module in list(sys.modules.values()) for value in list(vars(module).values())]
    return {
        f"{kernel.__module__}.{kernel.__name__}": len(kernel.signatures)
        for kernel in values
        if isinstance(kernel, CPUDispatcher)
    }


def main() -> None:
    warm_up()
    before = compiled()
    bounds = Bounds(rows_max=5_000, items_max=1_000, overlay_bytes_max=1 << 20)
    follower = Follower(lambda: RocksReader(Path(sys.argv[1])), lambda: 1, bounds)
    follower.refresh()
    replica = follower.replica
    if replica is None:
        raise RuntimeError(follower.problem)
    for user_id in (b"u0", b"u1", b"nobody"):
        user = replica.user(user_id)
        recommend(replica.catalogue, user, 3, include_seen=False, now_ms=0)
        score(replica.catalogue, user, replica.items([b"i0", b"nothing"]), now_ms=0)
        for ordinal in range(-1, len(replica.catalogue)):
            explain(replica.catalogue, user, ordinal, now_ms=0)
    follower.close()
    print(json.dumps([name for name, count in compiled().items() if count > before.get(name, 0)]))


if __name__ == "__main__":
    main()
