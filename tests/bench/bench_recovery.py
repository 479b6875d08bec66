"""After a SIGKILL in mid-stream: how long until the learner consumes again, and until a scorer answers.

    python tests/bench/bench_recovery.py --users 50000 --items 5000 --more 400000 --rounds 1

The store holds a row for each of 1 M users, and the items. A learner on a real broker is killed while
it learns; then a new one is started and timed from the start of its process to its first committed
micro-batch (the log's first "progress"). It is killed as well, and a scorer is started and timed to its first
answer about a user. The slowest of the rounds counts. Where the time goes is measured once more, step by
step, in a process of its own on the store that the last kill left.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from processes import Process, Service, answered, service, warm_up
from workload import KafkaBroker, fill, in_turns, load_average, uniform

from livefactor.client import Client

LEARNING = ("learning.algorithm=sgd", "learning.feedback=explicit", "learning.rank=64")
MID_STREAM_S = 1.5
HERE = Path(__file__).resolve().parent


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument(
        "--more", type=int, default=3_000_000, help="events in the midst of which it is killed"
    )
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def learn_and_kill(run: Service) -> dict[str, float]:
    """Start a learner and kill it in mid-stream; seconds until ready to read, and until it consumed."""
    learner = run.start("learn")
    learner.logged_s("progress")
    time.sleep(MID_STREAM_S)
    learner.child.check()
    learner.child.kill()
    return {
        name: round(learner.logged_s(event) - learner.started_s, 3)
        for name, event in (("ready", "learning"), ("consuming", "progress"))
    }


def scorer_start(run: Service) -> float:
    """Start a scorer and stop it; seconds until it answered about a user it knows."""
    scorer: Process = run.start("serve")
    with Client(scorer.address()) as client:
        if not scorer.until(lambda: answered(client, "u1")):
            raise RuntimeError("the scorer does not know a user of the store")
        elapsed_s = time.time() - scorer.started_s
    scorer.child.stop()
    return elapsed_s


def steps_s(run: Service) -> dict[str, float]:
    """Seconds of each step of a learner's start."""
    done = subprocess.run(
        [sys.executable, str(HERE / "recovery_steps.py"), str(run.config)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    wanted = options()
    with KafkaBroker() as broker:
        warm_up(broker.bootstrap, *LEARNING)
        with service(broker.bootstrap, *LEARNING) as run:
            fill(run.bootstrap, run.topic, in_turns(wanted.users, wanted.items, 1, seed=1))
            run.learn_to_end(wanted.users)
            fill(run.bootstrap, run.topic, uniform(wanted.users, wanted.items, wanted.more, seed=2))
            learn_and_kill(run)
            learner, scorer = [], []
            for _ in range(wanted.rounds):
                learner.append(learn_and_kill(run))
                scorer.append(scorer_start(run))
            steps = steps_s(run)
    detail = {
        "learner_s": learner,
        "scorer_s": [round(seconds, 2) for seconds in scorer],
        "steps_s": steps,
        "load": load_average(),
    }
    name = f"SIGKILL with {wanted.users:,} users"
    learner_name, scorer_name = (
        f"{name} to the learner consuming again, s",
        f"{name} to a new scorer's first answer, s",
    )
    figures = [
        {
            "figure": learner_name,
            "ratio": max(each["consuming"] for each in learner),
            "must": 3.0,
            "aim": 1.0,
            "detail": detail,
        },
        {"figure": scorer_name, "ratio": max(scorer), "must": 3.0, "aim": 2.0, "detail": detail},
    ]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
