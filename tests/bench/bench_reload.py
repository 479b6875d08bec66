"""How long callers wait while a scorer loads its catalogue anew, because another learner has started.

    python tests/bench/bench_reload.py --items 100000 --calls 500

A scorer process follows a store; `Score` is called at a steady rate, each call's wait counted from when it
was due. Then the store is closed and opened by the next writer, which makes the scorer load everything anew.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np
from workload import load_average  # makes the next importable

# isort: split
from scorer_process import ScorerProcess
from toy_model import IDENTITY, state_config

from protos.scorer_pb2 import ScoreRequest
from protos.scorer_pb2_grpc import ScorerStub
from state.codec import ITEM, USER
from state.kernels import spans
from state.model import Model
from state.rocksdb.writer import RocksWriter
from state.scoring.spec import ScoringSpec
from state.store import SCORING_MEMO, Commit, TopicPartition

SPEC = ScoringSpec(rank=32, history_max=20, explicit=False, blends=True, repeats=False)
IDENTITY_32 = {**IDENTITY, "rank": SPEC.rank}
WAIT_S = 30.0


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=500, help="a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="before the restart, and after it")
    return parser.parse_args()


def fill(writer: RocksWriter, count: int) -> None:
    """Commit and flush a catalogue."""
    model = Model(SPEC.rank, count + 2_000, count + 1_000, SPEC.history_max, event_ids_kept=0)
    numbers = np.arange(count)
    model.items.add(*spans([b"item-%d" % n for n in range(count)]), numbers)
    model.items.vectors[:count] = np.random.default_rng(1).normal(size=(count, SPEC.rank))
    model.items.changed_at[:count] = 1
    model.globals["counts"][1] = count
    rows = model.pack(numbers[:0], numbers, model.globals)
    offsets = {TopicPartition("t", 0): 1}
    writer.commit(Commit(1, rows, offsets, {"batch": 1}, {SCORING_MEMO: SPEC.pack()}))
    flush = writer.begin_flush(model.changed_since(0), {USER: 0, ITEM: 0}, 1)
    while not flush.advance(100_000):
        pass


async def waits_ms(address: str, calls: int, seconds: float) -> np.ndarray:
    """What each of so many calls a second took, from when it was due."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ScorerStub(channel)
        request = ScoreRequest(user_id="nobody", item_ids=["item-1", "item-2", "item-3"])

        async def call(due_s: float) -> float:
            await asyncio.sleep(max(due_s - time.perf_counter(), 0))
            await stub.Score(request, timeout=WAIT_S)
            return 1e3 * (time.perf_counter() - due_s)

        start_s = time.perf_counter()
        tasks = [asyncio.create_task(call(start_s + n / calls)) for n in range(int(calls * seconds))]
        return np.array(await asyncio.gather(*tasks))


async def measure(scorer: ScorerProcess, directory: Path, writer: RocksWriter, wanted: argparse.Namespace):
    """Waits before the restart and after it."""
    before = await waits_ms(scorer.address, wanted.calls, wanted.seconds)

    def restart() -> RocksWriter:
        writer.close()
        return RocksWriter(config_of(directory, wanted.items), IDENTITY_32)

    following = asyncio.create_task(waits_ms(scorer.address, wanted.calls, wanted.seconds))
    await asyncio.sleep(0.5)
    successor = await asyncio.to_thread(restart)
    successor.commit(Commit(2, (), {TopicPartition("t", 0): 2}, {"batch": 2}))
    after = await following
    successor.close()
    return before, after


def config_of(directory: Path, items: int):
    return state_config(directory).model_copy(
        update={"rows_max": items + 2_000, "items_max": items + 1_000, "journal_keep_ms": 0}
    )


def main() -> None:
    wanted = options()
    with TemporaryDirectory() as folder:
        directory = Path(folder)
        config = config_of(directory, wanted.items)
        writer = RocksWriter(config, IDENTITY_32)
        fill(writer, wanted.items)
        scorer = ScorerProcess(directory)
        scorer.arguments["state"].update(rows_max=config.rows_max, items_max=config.items_max)
        with scorer:
            grpc.channel_ready_future(scorer.channel).result(WAIT_S)
            deadline_s = time.monotonic() + WAIT_S
            while True:
                try:
                    ScorerStub(scorer.channel).Score(
                        ScoreRequest(user_id="u", item_ids=["item-1"]), timeout=WAIT_S
                    )
                    break
                except grpc.RpcError:
                    if time.monotonic() > deadline_s:
                        raise
            before, after = asyncio.run(measure(scorer, directory, writer, wanted))
    detail = {
        name: {
            "p50": round(float(np.median(w)), 2),
            "p99": round(float(np.quantile(w, 0.99)), 2),
            "max": round(float(w.max()), 1),
        }
        for name, w in (("before", before), ("after", after))
    }
    print(
        json.dumps(
            [
                {
                    "figure": f"longest wait for Score while {wanted.items:,} items are loaded anew, in ms",
                    "ratio": round(float(after.max()), 1),
                    "must": 100.0,
                    "aim": 60.0,
                    "detail": detail | {"load": load_average()},
                }
            ]
        )
    )


if __name__ == "__main__":
    main()
