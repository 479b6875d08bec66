"""What is to be told to end, at the worst moment: with work on its way to a broker in each of its states.

with clients_to_close(KILLED, broker) as parts:
    for part in parts:
        part.close()
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
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
from stream.kafka import KafkaPublisher, KafkaSink, KafkaSource, Setting, create_topics

AMID_REQUEST_S = 1.5
TOPICS = TopicsConfig(interactions="s.i", dlq="s.d", items="s.m", control="s.c", drift="s.r")

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
STATES = (UP, KILLED, FROZEN, KILLED_AMID_A_REQUEST, NEVER_THERE)


@contextmanager
def clients_to_close(state: State, broker: KafkaBroker) -> Iterator[tuple[KafkaSource, KafkaSink, Client]]:
    """A source with group offsets to write, a sink and a client with a record on its way."""
    topic = BrokerGround(broker).topic()
    ground = KafkaGround(_kafka(state, broker))
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
            yield source, sink, client


@contextmanager
def learner_to_stop(state: State, broker: KafkaBroker, folder: Path) -> Iterator[LearnProcess]:
    """A learner with records, dead letters and group offsets on their way, or with a broker to find."""
    kafka = _kafka(state, broker)
    if state is not NEVER_THERE:
        create_topics(kafka, TOPICS)
    with LearnProcess(_sections(kafka, folder), folder) as learner:
        if state is NEVER_THERE:
            learner.wait_for_line("hindered", "No broker answers")
            said_s = time.monotonic()
            wait_for(lambda: time.monotonic() - said_s > AMID_REQUEST_S, "a request under way")
        else:
            learner.wait_for_line("learning")
            _publish_dead_letters(kafka)
        with state.while_asked(broker):
            if state is KILLED_AMID_A_REQUEST:
                learner.wait_for_line("hindered")
            with state.afterwards(broker):
                yield learner


def _kafka(state: State, broker: KafkaBroker) -> dict[str, Setting]:
    return {"bootstrap.servers": f"127.0.0.1:{free_port()}" if state is NEVER_THERE else broker.bootstrap}


def _publish_dead_letters(kafka: Mapping[str, Setting]) -> None:
    with KafkaPublisher(kafka) as publisher:
        for _ in range(200):
            publisher.publish(TOPICS.interactions, b"k", b"no event, so a dead letter is due")
        publisher.flush(20_000)


def _sections(kafka: Mapping[str, Setting], folder: Path) -> dict[str, Mapping[str, object]]:
    return {
        "kafka": kafka,
        "state": {"directory": str(folder / "store"), "rows_max": 110_000, "items_max": 5_000},
        "learning": {"rank": 8},
        "topics": TOPICS.model_dump(),
    }
