"""Whatever the broker does, what is told to end ends, and says how it stands where it can.

Here it must only not hang: how long it takes depends on what else the machine does.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
from kafka_broker import KafkaBroker, free_port
from learn_process import LearnProcess
from source_checks import everywhere
from source_grounds import BrokerGround, KafkaGround

from livefactor.client import Client
from state.errors import SourceError
from state.store import OutboxRecord
from stream.config import TopicsConfig
from stream.kafka import KafkaPublisher, create_topics

pytestmark = pytest.mark.broker

DEADLINE_S = 15.0
TOPICS = TopicsConfig(interactions="s.i", dlq="s.d", items="s.m", control="s.c", drift="s.r")
ADVICE = 'check that it runs, [kafka] "bootstrap.servers"'

Act = Callable[[], object]
State = Callable[[KafkaBroker, Act], AbstractContextManager[None]]
"""Brings a broker into a state, in which `Act` has asked it for something, for the length of a block."""


@contextmanager
def up(broker: KafkaBroker, ask: Act) -> Iterator[None]:
    ask()
    yield


@contextmanager
def killed(broker: KafkaBroker, ask: Act) -> Iterator[None]:
    with broker.killed():
        ask()
        yield


@contextmanager
def frozen(broker: KafkaBroker, ask: Act) -> Iterator[None]:
    with broker.frozen():
        ask()
        yield


@contextmanager
def killed_amid_a_request(broker: KafkaBroker, ask: Act) -> Iterator[None]:
    with broker.frozen():
        ask()
        with broker.killed():
            yield


def never_there(broker: KafkaBroker, ask: Act) -> AbstractContextManager[None]:
    ask()
    return nullcontext()


def require_end(close: Act) -> None:
    """See a call return; one that hangs stays behind in its thread."""
    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), f"{close} hangs"


@pytest.mark.parametrize("state", [up, killed, frozen, killed_amid_a_request, never_there])
def test_clients_close(state: State, broker: KafkaBroker) -> None:
    """A source with group offsets to write, a sink and a client with a record on its way."""
    topic = BrokerGround(broker).topic()
    address = f"127.0.0.1:{free_port()}" if state is never_there else broker.bootstrap
    ground = KafkaGround({"bootstrap.servers": address})
    source, sink = ground.source(topic), ground.sink()
    client = Client(f"127.0.0.1:{free_port()}", ground.settings, topic=topic)
    source.assign(everywhere(topic))
    source.poll(10, 300)

    def ask() -> None:
        source.commit(everywhere(topic))
        assert sink.send(1, OutboxRecord(topic, b"k", b"v"))
        acknowledged = sink.flush(20_000 if state is up else 100)
        assert bool(acknowledged) == (state is up)
        with nullcontext() if state is up else pytest.raises(SourceError):
            client.publish("ann", "film", timeout_s=20 if state is up else 0.1)

    with state(broker, ask):
        for part in (source, sink, client):
            require_end(part.close)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "how"),
    [
        (up, signal.SIGTERM),
        (killed, signal.SIGTERM),
        (frozen, signal.SIGTERM),
        (frozen, signal.SIGINT),
        (killed_amid_a_request, signal.SIGTERM),
    ],
)
def test_a_learner_ends_when_told_to(
    state: State, how: signal.Signals, broker: KafkaBroker, tmp_path: Path
) -> None:
    """Exit code 0, with records, dead letters and group offsets on their way."""
    kafka = {"bootstrap.servers": broker.bootstrap}
    create_topics(kafka, TOPICS)
    tables = sections(kafka, tmp_path) | {"topics": TOPICS.model_dump()}
    with LearnProcess(tables, tmp_path) as learner, KafkaPublisher(kafka) as publisher:
        learner.wait_for_line("learning")
        for _ in range(200):
            publisher.publish(TOPICS.interactions, b"k", b"no event, so a dead letter is due")
        publisher.flush(20_000)

        def wait_for_requests() -> None:
            """Long enough for group offsets and dead letters to be on their way."""
            if state is killed_amid_a_request:
                learner.wait_for_line("hindered")

        with state(broker, wait_for_requests):
            assert learner.stop(DEADLINE_S, how) == 0, learner.said()
        assert learner.lines("stopped"), learner.said()


def test_a_second_signal_ends_a_learner_at_once(broker: KafkaBroker, tmp_path: Path) -> None:
    """While it says goodbye to a broker that is silent, everything is stored already."""
    kafka = {"bootstrap.servers": broker.bootstrap}
    create_topics(kafka, TOPICS)
    tables = sections(kafka, tmp_path) | {"topics": TOPICS.model_dump()}
    with LearnProcess(tables, tmp_path) as learner:
        learner.wait_for_line("learning")
        with broker.frozen():
            learner.signal(signal.SIGTERM)
            learner.wait_for_line("stopped")
            assert learner.stop(DEADLINE_S) == -signal.SIGTERM, learner.said()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_learner_without_a_broker_says_where_it_looks_and_ends_when_told_to(
    how: signal.Signals, tmp_path: Path
) -> None:
    """Nobody listens: the log names the address and what to check."""
    address = f"127.0.0.1:{free_port()}"
    with LearnProcess(sections({"bootstrap.servers": address}, tmp_path), tmp_path) as learner:
        said = learner.wait_for_line("waiting for the broker")["problem"]
        assert f"No broker answers at {address}" in said
        assert ADVICE in said
        assert learner.stop(DEADLINE_S, how) == 0, learner.said()
        assert not learner.lines("learning")


def sections(kafka: dict[str, str], folder: Path) -> dict[str, dict[str, object]]:
    return {
        "kafka": {**kafka},
        "state": {"directory": str(folder / "store"), "rows_max": 110_000, "items_max": 5_000},
        "learning": {"rank": 8},
    }
