"""How long it takes to end what was told to, whatever the broker does.

    python tests/bench/bench_stop.py --rounds 1

In each of five states of a real broker (up, killed, stopped by SIGSTOP, killed amid a request, never there)
with work on its way: `close()` of a source, a sink and a client, and a learner from SIGTERM or SIGINT to its
end with exit code 0. The slowest counts.
"""

import argparse
import json
import signal
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from workload import KafkaBroker, load_average  # makes the next importable

# isort: split
from stopping import STATES, State, clients_to_close, learner_to_stop

PATIENCE_S = 60.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def closes_s(state: State, broker: KafkaBroker) -> dict[str, float]:
    """Seconds that each part takes to close."""
    found = {}
    with clients_to_close(state, broker) as parts:
        for part in parts:
            start_s = time.perf_counter()
            part.close()
            found[f"{type(part).__name__}.close"] = time.perf_counter() - start_s
    return found


def stop_s(state: State, broker: KafkaBroker, how: signal.Signals) -> float:
    """Seconds from a signal to the end of a learner."""
    with TemporaryDirectory() as folder, learner_to_stop(state, broker, Path(folder)) as learner:
        start_s = time.perf_counter()
        if code := learner.stop(PATIENCE_S, how):
            raise RuntimeError(f"exit code {code} of a learner, its broker {state.name}:\n{learner.said()}")
        return time.perf_counter() - start_s


def ends_s(state: State, broker: KafkaBroker) -> dict[str, float]:
    """Seconds by what had to end."""
    return closes_s(state, broker) | {f"learner, {how.name}": stop_s(state, broker, how) for how in SIGNALS}


def figure(what: str, rounds: list[dict[str, float]]) -> dict[str, object]:
    """The slowest end of one kind; `rounds` has seconds by state."""
    slowest = {name: round(max(each[name] for each in rounds), 2) for name in rounds[0]}
    return {
        "figure": f"{what}, slowest of five states of the broker, in s",
        "ratio": max(slowest.values()),
        "must": 5.0,
        "aim": 3.0,
        "detail": slowest | {"rounds": len(rounds), "load": load_average()},
    }


def main() -> None:
    wanted = options()
    with KafkaBroker() as broker:
        rounds = [{state.name: ends_s(state, broker) for state in STATES} for _ in range(wanted.rounds)]
    kinds = rounds[0][STATES[0].name]
    print(
        json.dumps(
            [
                figure(what, [{name: ends[what] for name, ends in each.items()} for each in rounds])
                for what in kinds
            ]
        )
    )


if __name__ == "__main__":
    main()
