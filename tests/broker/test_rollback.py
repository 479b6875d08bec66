"""A learner goes back to a version while a scorer answers, and the log says what became of it."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from crash_process import REPOSITORY, wait_for
from kafka_broker import KafkaBroker
from learn_process import LearnProcess, head_of
from pipeline import event, keep_version
from scorer_process import ScorerProcess

from livefactor import Client
from state.errors import ScorerError
from stream.config import LearnerSettings, TopicsConfig
from stream.kafka import KafkaPublisher, create_topics

pytestmark = pytest.mark.broker

CALLERS = 2


def sections_for(broker: KafkaBroker, folder: Path) -> dict[str, Mapping[str, Any]]:
    kinds = ("interactions", "dlq", "items", "control", "drift")
    return {
        "kafka": {"bootstrap.servers": broker.bootstrap},
        "topics": {**{kind: f"{folder.name}.{kind}" for kind in kinds}, "partitions": 1},
        "state": {"directory": str(folder / "store"), "rows_max": 110_000, "items_max": 1_000},
        "learning": {"rank": 4},
    }


def learn(sections: Mapping[str, Mapping[str, Any]], folder: Path, first: int, count: int) -> None:
    """Publish events, and see them learnt by a learner that runs."""
    with KafkaPublisher(sections["kafka"]) as publisher:
        for n in range(first, first + count):
            value = event(f"u{n % 40}", f"i{n % 70 if first else n % 30}", event_id=f"e{n}")
            publisher.publish(sections["topics"]["interactions"], b"k", value)
        publisher.flush(60_000)
    wait_for(lambda: offset(folder, sections) == first + count, f"{first + count} events", 120.0)


def offset(folder: Path, sections: Mapping[str, Mapping[str, Any]]) -> int:
    head = head_of(folder / "store")
    topic = sections["topics"]["interactions"]
    return 0 if head is None else sum(at for where, at in head.offsets.items() if where.topic == topic)


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `livefactor` says under the settings of the folder's learner."""
    return subprocess.run(
        [sys.executable, "-m", "livefactor.cli", *arguments, "--config", str(folder / "livefactor.toml")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
    )


def answers(client: Client) -> bool:
    try:
        client.recommend("u1")
    except ScorerError:
        return False
    return True


@contextmanager
def called(address: str) -> Iterator[tuple[list[list[str]], list[Exception]]]:
    """Ask a scorer all the time; versions by caller, each time another answered, and calls that failed."""
    versions: list[list[str]] = [[] for _ in range(CALLERS)]
    failed: list[Exception] = []
    stop = threading.Event()

    def call(seen: list[str]) -> None:
        with Client(address) as client:
            while not stop.is_set():
                try:
                    version = client.recommend("u1", k=5).meta.version
                    if seen[-1:] != [version]:
                        seen.append(version)
                except Exception as error:
                    failed.append(error)

    with ThreadPoolExecutor(CALLERS) as pool:
        calling = [pool.submit(call, seen) for seen in versions]
        try:
            yield versions, failed
        finally:
            stop.set()
    for each in calling:
        each.result()


def test_a_learner_goes_back_while_a_scorer_answers(broker: KafkaBroker, tmp_path: Path) -> None:
    sections = sections_for(broker, tmp_path)
    create_topics(sections["kafka"], TopicsConfig(**sections["topics"]))
    with LearnProcess(sections, tmp_path) as learner:
        learner.wait_for_line("learning")
        learn(sections, tmp_path, 0, 400)
        assert learner.stop() == 0, learner.said()
    version = keep_version(LearnerSettings.model_validate(sections))
    with (
        LearnProcess(sections, tmp_path) as learner,
        ScorerProcess(tmp_path / "store") as scorer,
        Client(scorer.address) as client,
        ExitStack() as calls,
    ):
        learner.wait_for_line("learning")
        wait_for(lambda: answers(client), "a scorer that has loaded the store")
        versions, failed = calls.enter_context(called(scorer.address))
        learn(sections, tmp_path, 400, 400)
        wait_for(lambda: client.score("u1", ["i60"]).known[0], "an item that is new")
        unknown = command_line(tmp_path, "rollback", "g1.9999", "--json")
        assert unknown.returncode == 1, unknown
        assert "version g1.9999 is not kept" in json.loads(unknown.stdout)["message"]
        done = command_line(tmp_path, "rollback", str(version), "--json")
        assert done.returncode == 0, (done, learner.said())
        answer = json.loads(done.stdout)
        assert (answer["applied"], answer["message"]) == (True, f"went back to {version}")
        wait_for(lambda: client.recommend("u1", k=5).meta.batch_seq >= answer["batch_seq"], "the scorer")
        assert not client.score("u1", ["i60"]).known[0], "it is not known any more"
        assert client.recommend("u1", k=5).meta.version.startswith("g2.")
        learn(sections, tmp_path, 800, 100)
        wait_for(lambda: client.score("u1", ["i60"]).known[0], "what is learnt now")
        assert learner.stop() == 0, learner.said()
        assert failed == []
    for seen in versions:
        generations = [version.partition(".")[0] for version in seen]
        assert generations == sorted(generations)
        assert set(generations) == {"g1", "g2"}
    verdict = command_line(tmp_path, "state", "verify", "--json")
    assert verdict.returncode == 0, verdict
