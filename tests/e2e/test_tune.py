"""`livefactor tune` from outside: what it finds and writes, how it goes on, and its exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livefactor.settings import differing, load

HEADER = "user_id,item_id,event_type,value,timestamp_ms"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("LIVEFACTOR_")}
COMMAND = [sys.executable, "-m", "livefactor.cli", "tune"]
USERS, ITEMS = 40, 60


def tune(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=ENVIRONMENT | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def facts(folder: Path, *arguments: object, **environment: str) -> dict[str, Any]:
    done = tune(folder, *arguments, "--json", **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """1,500 ratings by users and of items that differ in their means; and settings that learn too slowly."""
    random = np.random.default_rng(1)
    users, items = random.integers(USERS, size=1_500), random.integers(ITEMS, size=1_500)
    means = random.normal(0, 1, USERS)[users] + random.normal(0, 1, ITEMS)[items]
    values = np.clip(3 + means, 1, 5).round(1)
    rows = [f"u{u},i{i},,{v},{n + 1}" for n, (u, i, v) in enumerate(zip(users, items, values, strict=True))]
    slow = ["[learning]", "algorithm = 'sgd'", "[sgd]", "step = 1e-5", "step_bias = 1e-5"]
    secret = ["[kafka]", "'sasl.password' = 'hunter2'"]
    (tmp_path / "slow.toml").write_text("\n".join([*slow, *secret]) + "\n")
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """2,000 likes without any sense."""
    random = np.random.default_rng(2)
    rows = [f"u{random.integers(60)},i{random.integers(200)},,,{n + 1}" for n in range(2_000)]
    path = tmp_path / "noise.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


@pytest.mark.slow
def test_settings_that_are_better_are_written_as_the_learner_reads_them(ratings: Path):
    folder = ratings.parent
    found = facts(folder, ratings, "--explicit", "--config", "slow.toml", "--trials", 6, "--out", "t.toml")
    assert (found["metric"], found["searched_events"], found["reported_events"]) == ("rmse", 450, 1_050)
    assert (found["better"], found["recommended"], found["written"]) == (True, "tuned", "t.toml")
    rmse = found["report"]["ratings"]["metrics"]["rmse"]
    assert rmse["tuned"] < rmse["default"] - 0.1
    assert rmse["interval"][0] <= rmse["difference"] <= rmse["interval"][1] < 0
    chosen = differing(load(folder / "t.toml", {}))
    for name, values in found["changed"].items():
        section, _, key = name.partition(".")
        assert chosen.get(section, {}).get(key, values["tuned"]) == values["tuned"]
    assert chosen["learning"].items() >= {"feedback": "explicit", "algorithm": "sgd"}.items()
    text = (folder / "t.toml").read_text()
    assert "hunter2" not in text
    assert "# Left out because it is secret: kafka.sasl.password" in text
    assert "# recommended: the tuned settings" in text
    assert "rmse" in text


@pytest.mark.slow
def test_settings_that_are_not_better_are_not_recommended_nor_written_unless_forced(noise: Path):
    folder = noise.parent
    done = tune(folder, noise, "--trials", 3)
    assert done.returncode == 0, done.stderr
    assert "recommended: the settings as they were" in done.stdout
    assert "warm (" in done.stdout
    assert not (folder / "livefactor.tuned.toml").exists()
    forced = tune(folder, noise, "--trials", 3, "--force", "--progress")
    assert "recommended: the settings as they were" in forced.stdout
    assert "# recommended: the settings as they were" in (folder / "livefactor.tuned.toml").read_text()
    refused = tune(folder, noise, "--trials", 3)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "is there already" in refused.stderr
    assert "--force" in refused.stderr


@pytest.mark.slow
def test_two_processes_agree_and_another_seed_searches_elsewhere(noise: Path):
    folder = noise.parent
    one, same, other = (
        facts(folder, noise, "--trials", 3, "--seed", seed, "--out", f"{name}.toml")
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert (one["changed"], one["report"]) == (same["changed"], same["report"])
    journals = [(folder / f"{name}.toml.journal").read_text().splitlines()[1:] for name in "abc"]
    tried = [[json.loads(line)["candidate"] for line in lines] for lines in journals]
    assert tried[0] == tried[1] != tried[2]
    assert other["trials"]["from_journal"] == 0


@pytest.mark.slow
def test_an_interrupted_search_says_how_to_go_on_and_does(noise: Path):
    folder = noise.parent
    journal = folder / "livefactor.tuned.toml.journal"
    process = subprocess.Popen(
        [*COMMAND, str(noise), "--trials", "5000"],
        env=ENVIRONMENT,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    kept = journal.read_bytes().count(b"\n") - 1
    done = facts(folder, noise, "--trials", "5000", "--timeout-s", 1)
    assert done["trials"]["from_journal"] == kept
    assert done["trials"]["measured"] >= kept


def test_a_journal_of_other_settings_is_refused(noise: Path):
    assert tune(noise.parent, noise, "--trials", 1).returncode == 0
    done = tune(noise.parent, noise, "--trials", 1, "--k", 5, "--set", "als.reg=0.5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "different: --k, als.reg" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "rmse"], "rmse and mae need --explicit"),
        (["--metric", "auc"], "must be one of ndcg, hr, mrr, log_loss"),
        (["--explicit", "--metric", "auc"], "must be one of rmse, mae"),
        (["--trials", 0], "--trials"),
        (["--limit", 200], "60 events, the second half holds"),
        (["--sample", 100], "a smaller --sample"),
        (["--min-value", 3, "--explicit"], "learning.min_value is for"),
        (["--out", "nowhere/t.toml"], "there is no directory"),
        (["--set", "learning.rnak=3"], "rank"),
    ],
)
def test_wrong_options_and_short_files_exit_with_2(noise: Path, arguments: list[object], message: str):
    done = tune(noise.parent, noise, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_that_all_diverge_exit_with_1_and_the_reason(noise: Path):
    done = tune(noise.parent, noise, "--trials", 2, "--set", "learning.norm_max=1e-5")
    assert (done.returncode, done.stdout) == (1, "")
    assert "diverged: updates refused" in done.stderr


@pytest.mark.parametrize("content", ["", HEADER + "\n", "who,what\n1,2\n"])
def test_files_with_nothing_in_them_exit_with_1(tmp_path: Path, content: str):
    path = tmp_path / "events.csv"
    path.write_text(content)
    done = tune(tmp_path, path)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(path) in done.stderr
