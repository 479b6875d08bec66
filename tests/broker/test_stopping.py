"""Whatever the broker does, what is told to end ends, and says how it stands where it can.

Here it must only not hang: how long it takes is measured by `tests/bench/bench_stop.py`.
"""

import signal
import threading
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import pytest
from kafka_broker import KafkaBroker
from stopping import (
    FROZEN,
    KILLED,
    KILLED_AMID_A_REQUEST,
    NEVER_THERE,
    STATES,
    UP,
    State,
    clients_to_close,
    learner_to_stop,
)

pytestmark = pytest.mark.broker

DEADLINE_S = 10.0
ADVICE = 'check that it runs, [kafka] "bootstrap.servers"'
name = attrgetter("name")


def require_end(close: Callable[[], object]) -> None:
    """See a call return; one that hangs stays behind in its thread."""
    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), f"{close} hangs"


@pytest.mark.parametrize("state", STATES, ids=name)
def test_clients_close(state: State, broker: KafkaBroker) -> None:
    with clients_to_close(state, broker) as parts:
        for part in parts:
            require_end(part.close)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "how"),
    [
        (UP, signal.SIGTERM),
        (KILLED, signal.SIGTERM),
        (FROZEN, signal.SIGTERM),
        (FROZEN, signal.SIGINT),
        (KILLED_AMID_A_REQUEST, signal.SIGTERM),
    ],
    ids=name,
)
def test_a_learner_ends_when_told_to(
    state: State, how: signal.Signals, broker: KafkaBroker, tmp_path: Path
) -> None:
    """Exit code 0, with records, dead letters and group offsets on their way."""
    with learner_to_stop(state, broker, tmp_path) as learner:
        assert learner.stop(DEADLINE_S, how) == 0, learner.said()
        assert learner.lines("stopped"), learner.said()


def test_a_second_signal_ends_a_learner_at_once(broker: KafkaBroker, tmp_path: Path) -> None:
    """While it says goodbye to a broker that is silent, everything is stored already."""
    with learner_to_stop(FROZEN, broker, tmp_path) as learner:
        learner.signal(signal.SIGTERM)
        learner.wait_for_line("stopped")
        assert learner.stop(DEADLINE_S) == -signal.SIGTERM, learner.said()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=name)
def test_a_learner_without_a_broker_says_where_it_looks_and_ends_when_told_to(
    how: signal.Signals, broker: KafkaBroker, tmp_path: Path
) -> None:
    """Nobody listens: the log names the address and what to check."""
    with learner_to_stop(NEVER_THERE, broker, tmp_path) as learner:
        said = learner.lines("hindered")[0]["problem"]
        address = learner.sections["kafka"]["bootstrap.servers"]
        assert f"No broker answers at {address}" in said
        assert ADVICE in said
        assert learner.stop(DEADLINE_S, how) == 0, learner.said()
        assert not learner.lines("learning")
