"""A learner goes back to a version while a scorer answers, and the log says what became of it."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from crash_process import REPOSITORY, wait_for
from kafka_broker import KafkaBroker
from learn_process import LearnProcess, head_of
from pipeline import event, keep_version
from scorer_process import ScorerProcess

from livefactor import Client
from state.errors import ScorerError
from state.store import VersionId
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


def learn(
    sections: Mapping[str, Mapping[str, Any]], folder: Path, first: int, count: int, items: str = "i"
) -> None:
    """Publish events, about items whose names begin so, and see them learnt by a learner that runs."""
    with KafkaPublisher(sections["kafka"]) as publisher:
        for n in range(first, first + count):
            value = event(f"u{n % 40}", f"{items}{n % 70 if first else n % 30}", event_id=f"e{n}")
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


class Service(NamedTuple):
    """A learner that has kept `version`, and a client of its scorer."""

    sections: dict[str, Mapping[str, Any]]
    version: VersionId
    learner: LearnProcess
    client: Client


@contextmanager
def at_work(broker: KafkaBroker, folder: Path) -> Iterator[Service]:
    """A service that is asked all the time, and has learnt 400 events; no call may fail."""
    sections = sections_for(broker, folder)
    create_topics(sections["kafka"], TopicsConfig(**sections["topics"]))
    with LearnProcess(sections, folder) as learner:
        learner.wait_for_line("learning")
        learn(sections, folder, 0, 400)
        assert learner.stop() == 0, learner.said()
    version = keep_version(LearnerSettings.model_validate(sections))
    with (
        LearnProcess(sections, folder) as learner,
        ScorerProcess(folder / "store") as scorer,
        Client(scorer.address) as client,
    ):
        learner.wait_for_line("learning")
        wait_for(lambda: answers(client), "a scorer that has loaded the store")
        with called(scorer.address) as (versions, failed):
            yield Service(sections, version, learner, client)
            assert learner.stop() == 0, learner.said()
            assert failed == []
    for seen in versions:
        generations = [version.partition(".")[0] for version in seen]
        assert generations == sorted(generations)
        assert set(generations) == {"g1", "g2"}
    verdict = command_line(folder, "state", "verify", "--json")
    assert verdict.returncode == 0, verdict


def go_back(service: Service, folder: Path, *arguments: str) -> dict[str, Any]:
    """What is answered to a rollback that is done, once the scorer has followed."""
    done = command_line(folder, "rollback", *arguments, "--json")
    assert done.returncode == 0, (done, service.learner.said())
    answer: dict[str, Any] = json.loads(done.stdout)
    wait_for(lambda: service.client.recommend("u1").meta.batch_seq >= answer["batch_seq"], "the scorer")
    assert service.client.recommend("u1").meta.version.startswith("g2.")
    return answer


def test_a_learner_goes_back_while_a_scorer_answers(broker: KafkaBroker, tmp_path: Path) -> None:
    with at_work(broker, tmp_path) as service:
        sections, client = service.sections, service.client
        learn(sections, tmp_path, 400, 400)
        wait_for(lambda: client.score("u1", ["i60"]).known[0], "an item that is new")
        unknown = command_line(tmp_path, "rollback", "g1.9999", "--json")
        assert unknown.returncode == 1, unknown
        assert "version g1.9999 is not kept" in json.loads(unknown.stdout)["message"]
        answer = go_back(service, tmp_path, str(service.version))
        assert (answer["applied"], answer["message"]) == (True, f"went back to {service.version}")
        assert not client.score("u1", ["i60"]).known[0], "it is not known any more"
        *_, told = client.drift_events()
        assert (told.reason, told.message) == ("rolled_back", answer["message"])
        learn(sections, tmp_path, 800, 100)
        wait_for(lambda: client.score("u1", ["i60"]).known[0], "what is learnt now")


def test_what_is_excluded_is_not_learnt_again(broker: KafkaBroker, tmp_path: Path) -> None:
    with at_work(broker, tmp_path) as service:
        sections, client = service.sections, service.client
        learn(sections, tmp_path, 400, 100, items="poison")
        learn(sections, tmp_path, 500, 400)
        names = ["poison60", "i60", "i1"]
        wait_for(lambda: client.score("u1", names).known == (True, True, True), "what is new")
        topic = sections["topics"]["interactions"]
        outside = command_line(tmp_path, "rollback", "--exclude", f"{topic}:0:400-4000", "--json")
        assert outside.returncode == 1, outside
        assert "only offsets before 900 have been read" in json.loads(outside.stdout)["message"]
        answer = go_back(service, tmp_path, "--exclude", f"{topic}:0:400-500")
        told = f"went back to {service.version}; 400 records after it are learnt again, and 100 left out"
        assert answer["message"] == told
        wait_for(lambda: client.score("u1", names).known == (False, True, True), "all but what is excluded")
        learn(sections, tmp_path, 900, 100, items="more")
        wait_for(lambda: client.score("u1", ["more10"]).known[0], "what is learnt now")
