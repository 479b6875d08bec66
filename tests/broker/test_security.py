"""Wrong security settings, against the listeners of a real broker: the reason at once, and no password."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from crash_process import wait_for
from kafka_broker import skip_without_java
from secured_broker import PASSWORD, USER, SecuredBroker, secured_broker
from structlog.testing import capture_logs

from livefactor.client import Client
from livefactor.settings import load
from state.errors import BrokerUnreachableError
from stream.kafka import check_topics, create_topics, require_broker
from stream.run import run_learner

pytestmark = pytest.mark.broker

WRONG = "not-the-password-99"
LOGIN = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": USER,
    "sasl.password": PASSWORD,
}
TOPICS = load(None, {}).topics

CASES = {
    "plain text to SASL": ("sasl", {}, "Disconnected", '"security.protocol"'),
    "plain text to SSL": ("ssl", {}, "Disconnected", '"security.protocol"'),
    "SASL to plain text": ("plaintext", LOGIN, "SASL", '"security.protocol"'),
    # "SSL handshake failed: Disconnected: ..." or, if the listener is quicker, "Disconnected: ..." alone.
    "SSL to plain text": (
        "plaintext",
        {"security.protocol": "SSL"},
        "SSL connection closed by peer",
        '"security.protocol"',
    ),
    "a wrong password": ("sasl", {**LOGIN, "sasl.password": WRONG}, "Invalid username", '"sasl.password"'),
    "a wrong mechanism": (
        "sasl",
        {**LOGIN, "sasl.mechanism": "SCRAM-SHA-256"},
        "supported mechanisms: PLAIN",
        '"sasl.mechanism"',
    ),
    "an unknown certificate": (
        "ssl",
        {"security.protocol": "SSL"},
        "certificate verify failed",
        '"ssl.ca.location"',
    ),
}


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredBroker]:
    skip_without_java()
    with secured_broker() as broker:
        create_topics({"bootstrap.servers": broker.plaintext}, TOPICS)
        yield broker


def kafka_of(secured: SecuredBroker, listener: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {"bootstrap.servers": str(getattr(secured, listener)), **settings}


def test_right_settings_do(secured: SecuredBroker) -> None:
    certificate = {"security.protocol": "SSL", "ssl.ca.location": str(secured.certificate)}
    for listener, settings in (("plaintext", {}), ("sasl", LOGIN), ("ssl", certificate)):
        kafka = kafka_of(secured, listener, settings)
        wait_for(lambda kafka=kafka: check_topics(kafka, TOPICS) == [], "new topics to be known")


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_reason_is_said_and_the_setting_to_look_at(
    case: tuple[str, dict[str, str], str, str], secured: SecuredBroker
) -> None:
    listener, settings, reason, setting = case
    kafka = kafka_of(secured, listener, settings)
    with pytest.raises(BrokerUnreachableError) as caught:
        check_topics(kafka, TOPICS)
    require_said(str(caught.value), reason, setting, kafka)


def test_publishing_says_it_and_so_does_a_learner_that_goes_on_trying(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    listener, settings, reason, setting = CASES["a wrong password"]
    kafka = kafka_of(secured, listener, settings)
    with pytest.raises(BrokerUnreachableError) as asked:
        require_broker(kafka)
    with Client("127.0.0.1:1", kafka) as client, pytest.raises(BrokerUnreachableError) as sent:
        client.publish("u", "i", timeout_s=60)
    with capture_logs() as logs:
        learn_until(lambda: any("problem" in entry for entry in logs), kafka, tmp_path)
    learnt = next(entry["problem"] for entry in logs if "problem" in entry)
    for words in (str(asked.value), str(sent.value), learnt):
        require_said(words, reason, setting, kafka)
    assert "event_id" in str(sent.value)


def require_said(words: str, reason: str, setting: str, kafka: Mapping[str, str]) -> None:
    """See that the words hold all that helps, and no password."""
    assert reason in words, words
    assert setting in words, words
    assert kafka["bootstrap.servers"] in words
    assert WRONG not in words
    assert PASSWORD not in words


def learn_until(done: Callable[[], bool], kafka: Mapping[str, str], folder: Path) -> None:
    """Run a learner until something is so, at most 20 s."""
    settings = load(None, {}, [f"state.directory={folder}", *(f"kafka.{key}={kafka[key]}" for key in kafka)])
    stop = threading.Event()
    learner = threading.Thread(target=run_learner, args=(settings,), kwargs={"stop": stop})
    learner.start()
    for _ in range(200):
        if done() or stop.wait(0.1):
            break
    stop.set()
    learner.join(20)
    assert not learner.is_alive()


@pytest.mark.parametrize(
    "command",
    [
        ("doctor",),
        ("topics", "check"),
        ("topics", "create"),
        ("publish", "EVENTS"),
        ("dlq", "list"),
        ("control", "freeze"),
    ],
    ids=" ".join,
)
def test_every_command_says_it_and_no_password(
    command: tuple[str, ...], secured: SecuredBroker, tmp_path: Path
) -> None:
    events = tmp_path / "events.csv"
    events.write_text("user_id,item_id\nu,i\n")
    kafka = kafka_of(secured, "sasl", {**LOGIN, "sasl.password": WRONG})
    sets = [f"kafka.{name}={value}" for name, value in kafka.items()] + [f"state.directory={tmp_path / 's'}"]
    arguments = [str(events) if word == "EVENTS" else word for word in command]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "livefactor.cli",
            *arguments,
            *(word for text in sets for word in ("--set", text)),
        ],
        env={**os.environ, "COLUMNS": "2000"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Invalid username or password" in said
    assert '"sasl.password"' in said
    assert WRONG not in said


def test_a_listener_that_is_advertised_wrongly_is_no_broker_that_is_down(secured: SecuredBroker) -> None:
    with pytest.raises(BrokerUnreachableError) as caught:
        check_topics({"bootstrap.servers": secured.lost}, TOPICS)
    assert f"at {secured.lost} answers, but says to be reached at {secured.elsewhere}" in str(caught.value)
    assert "advertised.listeners" in str(caught.value)
