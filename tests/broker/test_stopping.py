"""Whatever the broker does, what is told to end ends, and says how it stands where it can.

Here it must only not hang: how long it takes depends on what else the machine does.
"""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import pytest
from crash_process import wait_for
from kafka_broker import KafkaBroker, free_port
from learn_process import LearnProcess
from source_checks import everywhere
from source_grounds import BrokerGround, KafkaGround

from livefactor.client import Client
from state.errors import SourceError
from state.store import OutboxRecord
from stream.config import TopicsConfig
from stream.kafka import KafkaPublisher, Setting, create_topics

pytestmark = pytest.mark.broker

DEADLINE_S = 10.0
AMID_REQUEST_S = 1.5
TOPICS = TopicsConfig(interactions="s.i", dlq="s.d", items="s.m", control="s.c", drift="s.r")
ADVICE = 'check that it runs, [kafka] "bootstrap.servers"'

Stand = Callable[[KafkaBroker], AbstractContextManager[None]]


def as_it_is(broker: KafkaBroker) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class State:
    """What a broker does while something is asked of it, and from then until its client has ended."""

    name: str
    while_asked: Stand = as_it_is
    afterwards: Stand = as_it_is


UP = State("up")
KILLED = State("killed", KafkaBroker.killed)
FROZEN = State("frozen", KafkaBroker.frozen)
KILLED_AMID_A_REQUEST = State("killed amid a request", KafkaBroker.frozen, KafkaBroker.killed)
NEVER_THERE = State("never there")
name = attrgetter("name")


def require_end(close: Callable[[], object]) -> None:
    """See a call return; one that hangs stays behind in its thread."""
    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), f"{close} hangs"


@pytest.mark.parametrize("state", [UP, KILLED, FROZEN, KILLED_AMID_A_REQUEST, NEVER_THERE], ids=name)
def test_clients_close(state: State, broker: KafkaBroker) -> None:
    """A source with group offsets to write, a sink and a client with a record on its way."""
    topic = BrokerGround(broker).topic()
    address = f"127.0.0.1:{free_port()}" if state is NEVER_THERE else broker.bootstrap
    ground = KafkaGround({"bootstrap.servers": address})
    source, sink = ground.source(topic), ground.sink()
    client = Client(f"127.0.0.1:{free_port()}", ground.settings, topic=topic)
    source.assign(everywhere(topic))
    source.poll(10, 300)
    with state.while_asked(broker):
        source.commit(everywhere(topic))
        assert sink.send(1, OutboxRecord(topic, b"k", b"v"))
        acknowledged = sink.flush(20_000 if state is UP else 100)
        assert bool(acknowledged) == (state is UP)
        with nullcontext() if state is UP else pytest.raises(SourceError):
            client.publish("ann", "film", timeout_s=20 if state is UP else 0.1)
        with state.afterwards(broker):
            for part in (source, sink, client):
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
    with learner_of(broker, tmp_path) as learner, KafkaPublisher(kafka_of(broker)) as publisher:
        learner.wait_for_line("learning")
        for _ in range(200):
            publisher.publish(TOPICS.interactions, b"k", b"no event, so a dead letter is due")
        publisher.flush(20_000)
        with state.while_asked(broker):
            if state is KILLED_AMID_A_REQUEST:
                learner.wait_for_line("hindered")
            with state.afterwards(broker):
                assert learner.stop(DEADLINE_S, how) == 0, learner.said()
        assert learner.lines("stopped"), learner.said()


def test_a_second_signal_ends_a_learner_at_once(broker: KafkaBroker, tmp_path: Path) -> None:
    """While it says goodbye to a broker that is silent, everything is stored already."""
    with learner_of(broker, tmp_path) as learner:
        learner.wait_for_line("learning")
        with broker.frozen():
            learner.signal(signal.SIGTERM)
            learner.wait_for_line("stopped")
            assert learner.stop(DEADLINE_S) == -signal.SIGTERM, learner.said()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=name)
def test_a_learner_without_a_broker_says_where_it_looks_and_ends_when_told_to(
    how: signal.Signals, tmp_path: Path
) -> None:
    """Nobody listens: the log names the address and what to check."""
    address = f"127.0.0.1:{free_port()}"
    with LearnProcess(sections({"bootstrap.servers": address}, tmp_path), tmp_path) as learner:
        said = learner.wait_for_line("waiting for the broker")["problem"]
        assert f"No broker answers at {address}" in said
        assert ADVICE in said
        said_s = time.monotonic()
        wait_for(lambda: time.monotonic() - said_s > AMID_REQUEST_S, "a request under way")
        assert learner.stop(DEADLINE_S, how) == 0, learner.said()
        assert not learner.lines("learning")


def kafka_of(broker: KafkaBroker) -> dict[str, Setting]:
    return {"bootstrap.servers": broker.bootstrap}


def learner_of(broker: KafkaBroker, folder: Path) -> LearnProcess:
    """A learner of topics that exist."""
    create_topics(kafka_of(broker), TOPICS)
    return LearnProcess(sections(kafka_of(broker), folder) | {"topics": TOPICS.model_dump()}, folder)


def sections(kafka: Mapping[str, Setting], folder: Path) -> dict[str, Mapping[str, object]]:
    return {
        "kafka": kafka,
        "state": {"directory": str(folder / "store"), "rows_max": 110_000, "items_max": 5_000},
        "learning": {"rank": 8},
    }
