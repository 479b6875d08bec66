"""The command line from outside: what it prints where, its exit codes, and whole paths through processes."""

import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka_broker import KafkaBroker, skip_without_java
from rocksdict import AccessType
from webhook_server import Answer, WebhookServer

from livefactor import Client
from livefactor.settings import Settings, load
from protos.events_pb2 import DriftEvent
from state.errors import ConfigError, ScorerError
from state.rocksdb.database import open_database
from state.rocksdb.directory import Directory
from state.rocksdb.writer import RocksWriter
from state.store import Commit
from stream.cloud_events import cloud_event, webhook_destination
from stream.dead_letters import undelivered
from stream.kafka import EmbeddedCluster, KafkaPublisher
from stream.lineage.identity import identity

TOPICS = Settings().topics
EVENTS = 600
COMMANDS = (
    "demo",
    "learn",
    "serve",
    "publish",
    "replay",
    "tune",
    "recommend",
    "score",
    "topics",
    "dlq",
    "state",
    "versions",
    "control",
    "drift",
    "drill",
    "doctor",
    "explain-factors",
)

Done = subprocess.CompletedProcess[str]


def livefactor(*arguments: str, environment: dict[str, str] | None = None) -> Done:
    """Run one command to its end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIVEFACTOR_")}
    command = [sys.executable, "-m", "livefactor.cli", *arguments]
    return subprocess.run(
        command, env=inherited | (environment or {}), capture_output=True, text=True, timeout=180, check=False
    )


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "livefactor.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True)
class Place:
    """A cluster and a settings file for it."""

    cluster: EmbeddedCluster
    config: str

    @property
    def settings(self) -> Settings:
        return load(Path(self.config), {})

    def run(self, *arguments: str) -> Done:
        return livefactor(*arguments, "--config", self.config)

    def json(self, *arguments: str) -> dict:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def a_place(folder: Path) -> Iterator[Place]:
    topics = (TOPICS.interactions, TOPICS.dlq, TOPICS.items, TOPICS.control, TOPICS.drift)
    with EmbeddedCluster(topics) as cluster:
        config = folder / "livefactor.toml"
        config.write_text(
            "[kafka]\n"
            + "".join(
                f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in cluster.settings.items()
            )
            + f"[state]\ndirectory = '{folder / 'state'}'\nrows_max = 110000\nitems_max = 5000\n"
            + "[learning]\nrank = 8\n[serving]\nlisten = '127.0.0.1:0'\n"
        )
        yield Place(cluster, str(config))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A fresh cluster without records, and no store."""
    yield from a_place(tmp_path)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place where events and two poison records have been learnt; tests may not change its state."""
    folder = tmp_path_factory.mktemp("learnt")
    for place in a_place(folder):
        events = write_events(folder / "events.csv", EVENTS)
        assert place.run("publish", str(events)).returncode == 0
        with KafkaPublisher(place.cluster.settings) as publisher:
            publisher.publish(
                TOPICS.interactions, b"ann", b"{poison", (("source", b"app"), ("reason", b"own"))
            )
            publisher.publish(TOPICS.interactions, b"bob", b"\xff\xff")
            publisher.flush(10_000)
        done = place.run("learn", "--until-end")
        assert done.returncode == 0, done.stderr
        yield place


def write_events(path: Path, count: int, extra: Sequence[str] = ()) -> Path:
    rows = [f"user-{i * 7 % 50},item-{i * i % 31},click,," for i in range(count)]
    path.write_text("\n".join(["user_id,item_id,event_type,value,timestamp_ms", *rows, *extra]) + "\n")
    return path


def test_help_names_every_command_and_the_exit_codes():
    text = livefactor("--help").stdout
    assert all(re.search(rf"^\W*{name}\s", text, re.MULTILINE) for name in COMMANDS)
    assert "Exit codes: 0 done" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str):
    done = livefactor(name, "--help")
    assert done.returncode == 0
    assert f"{name} [OPTIONS]" in done.stdout


def test_the_front_door_opens_without_the_heavy_libraries():
    heavy = ("numba", "numpy", "confluent_kafka", "rocksdict", "grpc")
    code = f"import sys, livefactor.cli; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_wrong_settings_are_exit_code_2_and_one_message_on_standard_error():
    done = livefactor("recommend", "ann", "--set", "learning.rnak=8")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean rank?" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_environment_variable_is_exit_code_2():
    done = livefactor("settings", environment={"LIVEFACTOR_LEARNING_RNAK": "8"})
    assert done.returncode == 2
    assert "LIVEFACTOR_LEARNING_RANK?" in done.stderr


def test_the_environment_can_name_the_settings_file(tmp_path: Path):
    (tmp_path / "a.toml").write_text("[model]\nname = 'from-file'\n")
    done = livefactor("settings", "--json", environment={"LIVEFACTOR_CONFIG": str(tmp_path / "a.toml")})
    assert json.loads(done.stdout)["model"]["name"] == "from-file"


def test_secrets_are_masked_when_settings_are_shown():
    done = livefactor("settings", "--set", "kafka.sasl.password=hunter2")
    assert "kafka\tsasl.password\t***" in done.stdout
    assert "hunter2" not in done.stdout


def test_a_scorer_that_is_not_there_is_exit_code_1_with_what_to_do():
    done = livefactor("recommend", "ann", "--set", "serving.listen=127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "start `livefactor serve`" in done.stderr


@pytest.mark.parametrize(
    "command", [("state", "digest"), ("state", "inspect"), ("state", "upgrade"), ("explain-factors",)]
)
def test_a_missing_store_is_named(tmp_path: Path, command: tuple[str, ...]):
    done = livefactor(*command, "--set", f"state.directory={tmp_path}")
    assert done.returncode == 1
    assert "holds no store" in done.stderr


@pytest.mark.parametrize("command", [("learn",), ("state", "digest"), ("state", "inspect")])
def test_a_state_directory_that_is_a_file_is_one_message(tmp_path: Path, command: tuple[str, ...]):
    (tmp_path / "file").write_text("")
    done = livefactor(*command, "--set", f"state.directory={tmp_path / 'file'}")
    assert done.returncode == 1
    assert "cannot be used as `state.directory`" in done.stderr
    assert "set another" in done.stderr
    assert "Traceback" not in done.stderr


def test_upgrade_of_another_format_says_what_can_be_done(tmp_path: Path):
    settings = load(None, {}, [f"state.directory={tmp_path}"])
    RocksWriter(settings.state, identity(settings)).close()
    database = open_database(Directory(tmp_path).database(), AccessType.read_write())
    database.put(b"identity", json.dumps({**identity(settings), "format": 99}).encode())
    database.close()
    done = livefactor("state", "upgrade", "--set", f"state.directory={tmp_path}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot convert" in done.stderr
    assert "use the release that wrote it" in done.stderr


def test_dead_letters_of_a_topic_that_does_not_exist_are_a_named_error(place: Place):
    done = place.run("dlq", "list", "--set", "topics.dlq=no-such-topic")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no-such-topic" in done.stderr
    assert "livefactor topics create" in done.stderr


def test_publish_reports_events_bad_rows_and_positions(place: Place, tmp_path: Path):
    file = write_events(tmp_path / "e.csv", 100, ["ann,,click,,", "ann,film,click,many,", "bob,,click,,"])
    facts = place.json("publish", str(file))
    assert (facts["events"], facts["acknowledged"], facts["bad_rows"]) == (100, 100, 3)
    assert facts["bad_rows_by_reason"] == {"item_id is empty": 2, "value is not a number": 1}
    assert sum(facts["positions"].values()) == 100


def test_publish_stops_at_the_limit_and_keeps_to_the_rate(place: Place, tmp_path: Path):
    facts = place.json(
        "publish", str(write_events(tmp_path / "e.csv", 500)), "--limit", "60", "--rate", "100"
    )
    assert facts["events"] == 60
    assert 0.58 <= facts["seconds"] < 20


def test_publish_of_a_cut_file_sends_what_is_good_and_is_exit_code_1(place: Place, tmp_path: Path):
    whole = gzip.compress(write_events(tmp_path / "e.csv", 20_000).read_bytes())
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    done = place.run("publish", str(cut), "--json")
    facts = json.loads(done.stdout)
    assert done.returncode == 1
    assert "cut short" in facts["damage"]
    assert 1_000 < facts["acknowledged"] == facts["events"] < 20_000


def test_publish_without_a_broker_is_exit_code_1_and_says_so(tmp_path: Path):
    file = write_events(tmp_path / "e.csv", 3)
    kafka = ("--set", "kafka.bootstrap.servers=127.0.0.1:1", "--set", "kafka.message.timeout.ms=1000")
    done = livefactor("publish", str(file), *kafka)
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr


def test_digest_prints_one_hexadecimal_line_and_json_says_the_same(learnt: Place):
    line = learnt.run("state", "digest").stdout
    assert re.fullmatch(r"[0-9a-f]{64}\n", line)
    assert learnt.json("state", "digest")["digest"] == line.strip()


def test_verify_agrees_with_exit_code_0(learnt: Place):
    done = learnt.run("state", "verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("agrees: ")


def test_verify_is_exit_code_3_when_nothing_fits_this_program(learnt: Place):
    done = learnt.run("state", "verify", "--set", "als.alpha=0.5")
    assert done.returncode == 3
    assert "other settings" in done.stderr


def test_verify_is_exit_code_1_when_the_state_was_tampered_with(place: Place, tmp_path: Path):
    assert place.run("publish", str(write_events(tmp_path / "e.csv", 50))).returncode == 0
    assert place.run("learn", "--until-end").returncode == 0
    settings = place.settings
    with closing(RocksWriter(settings.state, identity(settings))) as writer:
        writer.commit(
            Commit(writer.head().batch_seq + 1, schedule={"kind": "forged"}, memo={"control": b"forged"})
        )
    done = place.run("state", "verify")
    assert done.returncode == 1, done.stderr
    assert "differs" in done.stdout


def test_inspect_shows_where_the_store_stands(learnt: Place):
    facts = learnt.json("state", "inspect")
    interactions = [p["offset"] for p in facts["offsets"] if p["topic"] == TOPICS.interactions]
    assert sum(interactions) == EVENTS + 2
    assert (facts["users_flushed"], facts["items_flushed"]) == (50, len({i * i % 31 for i in range(EVENTS)}))
    assert facts["identity"]["rank"] == 8


def test_drift_shows_how_the_live_model_does_beside_others(learnt: Place):
    facts = learnt.json("drift", "show")
    (window,) = facts["windows"]
    assert (window["name"], facts["frozen_version"]) == ("current", None)
    assert 0 < window["events"] == facts["compared"] < EVENTS
    assert 0 < window["models"]["live"]["reciprocal_rank"] <= 1
    assert window["models"]["frozen"]["loss"] is None
    lines = learnt.run("drift", "show").stdout.splitlines()
    assert lines[4] == f"compared: {facts['compared']}"
    assert facts["sampled"] >= facts["compared"]
    assert 0 < facts["top_item_share"] < 1
    assert 0 < facts["top_user_share"] <= 1
    assert 0 <= facts["repeated_share"] <= 1
    assert [line.split("\t")[5] for line in lines[8:]] == ["model", "live", "frozen", "baseline"]
    assert facts["inputs"] == [], "there are too few to compare with"
    assert not facts["alarm"]
    assert learnt.json("drift", "list") == []


def test_factors_are_explained_by_their_top_items(learnt: Place):
    facts = learnt.json("explain-factors", "--top", "3")
    assert facts["items"] == len({i * i % 31 for i in range(EVENTS)})
    assert not facts["nonnegative"]
    assert sorted(each["dimension"] for each in facts["dimensions"]) == list(range(8))
    assert sum(each["share"] for each in facts["dimensions"]) == pytest.approx(1)
    assert any(each["items"] for each in facts["dimensions"])
    for each in facts["dimensions"]:
        components = [item["component"] for item in each["items"]]
        assert len(components) <= 3
        assert components == sorted(components, reverse=True)
        assert all(re.fullmatch(r"item-\d+", item["item_id"]) for item in each["items"])


def test_factors_are_explained_in_lines_with_a_word_on_negative_components(learnt: Place):
    done = learnt.run("explain-factors")
    assert done.stdout.splitlines()[0] == "dimension\tshare\titems"
    assert len(done.stdout.splitlines()) == 9
    assert "learning.nonneg = true" in done.stderr


def test_dead_letters_are_listed_once_with_coordinates_and_reason(learnt: Place):
    facts = learnt.json("dlq", "list")
    assert facts["count"] == 2
    assert {letter["first_bytes"] for letter in facts["letters"]} == {"{poison", "\\xff\\xff"}
    assert all(letter["source_topic"] == TOPICS.interactions for letter in facts["letters"])
    assert all(letter["reason"] and letter["code"] and letter["stage"] for letter in facts["letters"])


def test_dead_letters_are_sent_again_untouched_and_only_once(place: Place):
    headers = (("source", b"app"), ("reason", b"own"))
    with KafkaPublisher(place.cluster.settings) as publisher:
        publisher.publish(TOPICS.interactions, b"ann", b"{poison", headers)
        publisher.flush(10_000)
    assert place.run("learn", "--until-end").returncode == 0
    assert place.json("dlq", "resend", "--dry-run")["selected"] == 1
    assert place.json("dlq", "resend")["sent"] == 1
    assert place.json("dlq", "replay")["sent"] == 0
    assert place.json("dlq", "list")["letters"][0]["sent_again"] is True
    assert place.run("learn", "--until-end").returncode == 0
    letters = place.json("dlq", "list")["letters"]
    assert [(letter["first_bytes"], letter["sent_again"]) for letter in letters] == [
        ("{poison", True),
        ("{poison", False),
    ]


def test_what_a_webhook_did_not_take_is_posted_again_and_marked_only_then(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    event = DriftEvent(id="e1", model="default", reason="taste_lost")
    record = cloud_event(webhook_destination("ops"), "default", "e1", event)
    letter = undelivered(record, 7, "HTTP 404", TOPICS.dlq, "1.0")
    with KafkaPublisher(place.cluster.settings) as publisher:
        publisher.publish(letter.topic, letter.key, letter.value, letter.headers)
        publisher.flush(10_000)
    [listed] = place.json("dlq", "list", "--code", "webhook_failed")["letters"]
    assert (listed["source_topic"], listed["reason"]) == ("webhook:ops", "HTTP 404")
    with WebhookServer(Answer(404), Answer()) as server:
        setting = ("--set", f"drift.webhooks.ops.url={server.url}")
        refused = place.run("dlq", "resend", *setting)
        assert refused.returncode == 1
        assert "webhook:ops: HTTP 404" in refused.stderr
        assert place.json("dlq", "resend", *setting)["sent"] == 1
        assert place.json("dlq", "resend", *setting)["sent"] == 0
        ids = [server.came.get_nowait().headers["webhook-id"] for _ in range(server.came.qsize())]
    assert ids == ["e1", "e1"]


def test_a_scorer_answers_recommend_score_and_explain_for_a_learnt_store(learnt: Place):
    with running("serve", "--config", learnt.config) as scorer:
        address = first_line(scorer).removeprefix("listening on ")
        at = ("--set", f"serving.listen={address}")
        answer = wait_for_answer(learnt, "recommend", "user-1", "-k", "3", "--include-seen", *at)
        assert (len(answer["item_ids"]), answer["cold"]) == (3, False)
        assert answer["meta"]["batch_seq"] > 0
        assert learnt.json("recommend", "nobody", *at)["cold"] is True
        scores = learnt.json("score", "user-1", "item-0", "item-unheard-of", *at)
        assert scores["known"] == [True, False]
        why = learnt.json("explain", "user-1", "item-0", *at)
        assert (why["known"], why["cold"]) == (True, False)
        # A score moves with the time since the user's last event: this one lies between two others.
        later = learnt.json("score", "user-1", "item-0", *at)
        low, high = sorted((scores["scores"][0], later["scores"][0]))
        assert low - 1e-5 <= why["score"] <= high + 1e-5
        parts = why["taste"] + why["recent"] + why["popularity"] + why["had_before"]
        assert parts + sum(why["because"].values()) == pytest.approx(why["score"], abs=1e-5)
        assert learnt.run("explain", "user-1", "item-0", *at).stdout.startswith("part\tscore\ntaste\t")
        refused = learnt.run("explain", "user-1", "", *at)
        assert refused.returncode == 1
        assert "item_id has 0 bytes, allowed are 1 to 256" in refused.stderr
        lines = learnt.run("recommend", "user-1", "-k", "2", "--include-seen", *at).stdout.splitlines()
        assert lines[0] == "rank\titem_id\tscore"
        assert len(lines) == 3


def test_freeze_stops_learning_and_resume_takes_it_up_again(place: Place):
    with running("learn", "--config", place.config):
        frozen = wait_for_answer(place, "control", "freeze", "--reason", "test", "--timeout", "60")
        assert (frozen["applied"], frozen["frozen"]) == (True, True)
        assert place.json("control", "status")["frozen"] is True
        resumed = place.json("control", "resume", "--timeout", "60")
        assert (resumed["applied"], resumed["frozen"]) == (True, False)
        assert resumed["batch_seq"] > frozen["batch_seq"]
        assert place.json("control", "status")["frozen"] is False


def test_what_was_missed_is_learnt_from_the_log(place: Place, tmp_path: Path):
    with running("learn", "--config", place.config):
        wait_for_answer(place, "control", "freeze", "--timeout", "60")
        assert place.run("publish", str(write_events(tmp_path / "e.csv", 200))).returncode == 0
        end_s = time.monotonic() + 60
        while (status := place.json("control", "status"))["missed"] < 200:
            assert time.monotonic() < end_s, status
        resumed = place.json("control", "resume", "--learn-missed", "--timeout", "60")
        assert resumed["message"] == "learning goes on, from 200 records ago"
        assert place.json("control", "status")["missed"] == 0
    assert place.run("learn", "--until-end").returncode == 0
    assert place.json("state", "inspect")["users_flushed"] == 50
    assert place.run("state", "verify").returncode == 0


def test_a_command_that_no_learner_answers_is_exit_code_1(place: Place):
    done = place.run("control", "freeze", "--timeout", "1")
    assert done.returncode == 1
    assert "no learner answered within 1 s" in done.stderr


def test_a_second_learner_on_the_directory_is_refused(place: Place):
    with running("learn", "--config", place.config):
        wait_for_answer(place, "control", "status")
        done = place.run("learn", "--until-end")
    assert done.returncode == 1
    assert "--standby" in done.stderr


def test_doctor_fails_without_a_broker_and_says_what_to_do(tmp_path: Path):
    done = livefactor(
        "doctor",
        "--json",
        "--set",
        "kafka.bootstrap.servers=127.0.0.1:1",
        "--set",
        f"state.directory={tmp_path}",
    )
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert findings["broker"]["status"] == "fail"
    assert "127.0.0.1:1" in findings["broker"]["message"]
    assert (findings["settings"]["status"], findings["store"]["status"]) == ("ok", "warn")


def test_doctor_reports_wrong_settings_as_a_finding():
    done = livefactor("doctor", "--json", "--set", "learning.rank=many")
    assert done.returncode == 1
    assert [finding["status"] for finding in json.loads(done.stdout)] == ["fail"]


@pytest.mark.broker
def test_topics_are_created_and_checked_on_a_real_broker(tmp_path: Path):
    skip_without_java()
    with KafkaBroker() as broker:
        at = (
            "--set",
            f"kafka.bootstrap.servers={broker.bootstrap}",
            "--set",
            f"state.directory={tmp_path / 's'}",
        )
        before = livefactor("topics", "check", *at)
        assert before.returncode == 1
        assert "livefactor topics create" in before.stdout
        outcome = json.loads(livefactor("topics", "create", "--json", *at).stdout)
        assert set(outcome.values()) == {"created"}
        assert len(outcome) == 5
        assert livefactor("topics", "check", *at).returncode == 0
        assert set(json.loads(livefactor("topics", "create", "--json", *at).stdout).values()) == {"exists"}
        assert livefactor("doctor", *at).returncode == 0
        events = tmp_path / "events.csv"
        events.write_text("user_id,item_id,event_type\nu,i,unsubscribed\nu,j,dislike\n")
        assert livefactor("publish", events, *at).returncode == 0
        looked = livefactor("doctor", "--json", *at)
        found = {finding["subject"]: finding for finding in json.loads(looked.stdout)}["event types"]
        assert (found["status"], looked.returncode) == ("warn", 0)
        assert "'unsubscribed' (1);" in found["message"]


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def wait_for_answer(place: Place, *arguments: str, deadline_s: float = 120.0) -> dict:
    """The command's JSON as soon as it succeeds: what it asks may still be starting."""
    end_s = time.monotonic() + deadline_s
    while True:
        done = place.run(*arguments, "--json")
        if done.returncode == 0:
            return json.loads(done.stdout)
        assert time.monotonic() < end_s, done.stderr


def test_a_client_reads_its_own_write(place: Place, tmp_path: Path):
    assert place.run("publish", str(write_events(tmp_path / "e.csv", 200))).returncode == 0
    with running("learn", "--config", place.config), running("serve", "--config", place.config) as scorer:
        address = first_line(scorer).removeprefix("listening on ")
        wait_for_answer(place, "recommend", "nobody", "--set", f"serving.listen={address}")
        with Client(address, {"bootstrap.servers": place.cluster.bootstrap}) as client:
            assert client.recommend("newcomer").cold
            position = client.publish("newcomer", "item-1", "click", event_id="once")
            answer = client.recommend("newcomer", 5, min_position=position, timeout_s=30)
            assert not answer.cold
            assert "item-1" not in answer.item_ids
            assert position in answer.meta.positions
            with pytest.raises(ScorerError, match="k") as caught:
                client.recommend("newcomer", 0)
            assert caught.value.code == "INVALID_ARGUMENT"


def test_a_client_without_kafka_settings_cannot_publish():
    with Client("127.0.0.1:1") as client, pytest.raises(ConfigError, match=r"bootstrap\.servers"):
        client.publish("ann", "film")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--fault", "gremlins"), "there is no fault 'gremlins'"),
        (("--fault", "none", "--at", "0.6", "--until", "0.5"), "before it begins"),
        (("--fault", "none", "--at", "1.5"), "--at"),
        ((), "--fault"),
    ],
)
def test_a_drill_refuses_what_makes_no_sense(tmp_path, options, problem):
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id\nu1,i1\n")
    done = livefactor("drill", str(path), *options)
    assert done.returncode == 2
    assert problem in done.stderr


def test_a_drill_prints_its_facts(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id\n" + "".join(f"u{n % 9},i{n % 7}\n" for n in range(300)))
    done = livefactor("drill", str(path), "--fault", "rename-fields", "--json")
    assert json.loads(done.stdout) == {
        "fault": "rename-fields",
        "at_event": 150,
        "detected_event": None,
        "delay_events": None,
        "action": None,
        "reason": None,
        "recovered_event": None,
        "loss_area_vs_twin": 0.0,
        "false_alarms": 0,
        "events": 300,
    }
