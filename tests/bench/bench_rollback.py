"""Going back to a version of a million rows while a scorer is asked: failed calls, and how long it takes.

    python tests/bench/bench_rollback.py --users 50000 --items 5000 --more 20000

A learner on a real broker has learnt one event of each user, a version is kept, and it learns more. Then it
is told to go back, while `Score` is called at a steady rate, by callers that have at most `IN_FLIGHT` calls
open (a machine that cannot answer so many a second gets fewer; the detail says how many). It has gone back
when the scorer answers from the new generation. Each call's wait counts from when it was due or free to go.
"""

import argparse
import asyncio
import json
import time
from contextlib import closing

import grpc
import numpy as np
from processes import Process, Service, answered, service, warm_up
from workload import KafkaBroker, fill, in_turns, load_average, uniform

from livefactor.client import Client
from livefactor.commands.control import send
from protos.events_pb2 import COMMAND_ACTION_ROLLBACK, Command, CommandResult
from protos.scorer_pb2 import ScoreRequest
from protos.scorer_pb2_grpc import ScorerStub
from state.rocksdb.writer import RocksWriter
from state.store import VersionId
from stream.lineage.bases import begin_version
from stream.lineage.identity import identity

WAIT_S, BEFORE_S, AFTER_S = 300.0, 3.0, 5.0
DEADLINE_S = 10.0
"""Of a call."""
IN_FLIGHT = 64
"""Calls that nobody has answered yet, at most."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=900_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--more", type=int, default=200_000, help="events after the version")
    parser.add_argument("--calls", type=int, default=500, help="a second")
    return parser.parse_args()


def keep_version(run: Service) -> VersionId:
    """Keep the state that a learner has left."""
    settings = run.settings
    with closing(RocksWriter(settings.state, identity(settings))) as store:
        begin_version(settings, store, "bench").advance(wait=True)
        return store.head().version


def go_back(run: Service, version: VersionId) -> None:
    """Have the learner do it, and wait for its answer."""
    command = Command(action=COMMAND_ACTION_ROLLBACK, version=str(version))
    answer: CommandResult = send(run.settings, command, WAIT_S)
    if not answer.applied:
        raise RuntimeError(answer.message)


class Calls:
    """Calls of a scorer: what each took from when it was due, in ms, and what came of them.

    `first_s` is when the first answer came from each generation, such as g1; `went_back` is set with g2's.
    """

    def __init__(self) -> None:
        self.waits_ms: list[float] = []
        self.failed: list[str] = []
        self.first_s: dict[str, float] = {}
        self.went_back = asyncio.Event()

    async def make(self, address: str, a_second: int, done: asyncio.Event) -> None:
        """So many a second until `done`."""
        async with grpc.aio.insecure_channel(address) as channel:
            stub, due_s, free = ScorerStub(channel), time.perf_counter(), asyncio.Semaphore(IN_FLIGHT)
            async with asyncio.TaskGroup() as tasks:
                while not done.is_set():
                    await free.acquire()
                    due_s = max(due_s, time.perf_counter() - 1 / a_second)
                    tasks.create_task(self._call(stub, due_s)).add_done_callback(lambda _: free.release())
                    due_s += 1 / a_second
                    await asyncio.sleep(max(due_s - time.perf_counter(), 0))

    async def _call(self, stub: ScorerStub, due_s: float) -> None:
        try:
            answer = await stub.Score(
                ScoreRequest(user_id="u1", item_ids=["i0", "i1", "i2"]), timeout=DEADLINE_S
            )
        except grpc.aio.AioRpcError as error:
            self.failed.append(str(error))
            return
        self.waits_ms.append(1e3 * (time.perf_counter() - due_s))
        generation = answer.meta.version.partition(".")[0]
        self.first_s.setdefault(generation, time.perf_counter())
        if generation == "g2":
            self.went_back.set()


async def measure(run: Service, version: VersionId, scorer: Process, a_second: int):
    """Seconds of the rollback, and the calls meanwhile."""
    address, done, calls = scorer.address(), asyncio.Event(), Calls()
    with Client(address) as client:
        scorer.until(lambda: answered(client, "u1"))
    calling = asyncio.create_task(calls.make(address, a_second, done))
    await asyncio.sleep(BEFORE_S)
    began_s = time.perf_counter()
    await asyncio.to_thread(go_back, run, version)
    answered_s = time.perf_counter()
    await asyncio.wait_for(calls.went_back.wait(), WAIT_S)
    await asyncio.sleep(AFTER_S)
    done.set()
    calling_s = time.perf_counter() - began_s + BEFORE_S
    await calling
    seconds = {
        "learner_s": round(answered_s - began_s, 2),
        "scorer_s": round(calls.first_s["g2"] - began_s, 2),
        "calls_a_second": round((len(calls.waits_ms) + len(calls.failed)) / calling_s),
    }
    return seconds, calls


def main() -> None:
    wanted = options()
    with KafkaBroker() as broker:
        warm_up(broker.bootstrap)
        with service(broker.bootstrap) as run:
            fill(run.bootstrap, run.topic, in_turns(wanted.users, wanted.items, 1, seed=1))
            run.learn_to_end(wanted.users)
            version = keep_version(run)
            learner, scorer = run.start("learn"), run.start("serve")
            fill(run.bootstrap, run.topic, uniform(wanted.users, wanted.items, wanted.more, seed=2))
            run.wait_until_applied(learner, wanted.users + wanted.more)
            seconds, calls = asyncio.run(measure(run, version, scorer, wanted.calls))
    answered_count, waits_ms = len(calls.waits_ms), np.array(calls.waits_ms)
    detail = {
        **seconds,
        "answered": answered_count,
        "failed": len(calls.failed),
        "first_failures": calls.failed[:3],
        "wait_ms": {"p50": round(float(np.median(waits_ms)), 2), "max": round(float(waits_ms.max()))},
        "load": load_average(),
    }
    name = f"rollback of {wanted.users + wanted.items:,} rows under {wanted.calls} calls/s"
    figures = [
        {"figure": f"{name}, s", "ratio": seconds["scorer_s"], "must": 60.0, "aim": 10.0, "detail": detail},
        {
            "figure": f"{name}, share of calls answered",
            "ratio": answered_count / (answered_count + len(calls.failed)),
            "must": 1.0,
            "aim": 1.0,
            "detail": detail,
        },
    ]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
