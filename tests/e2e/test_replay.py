"""`livefactor replay` from outside: what it prints where, its exit codes, and its figures on real data."""

import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import realdata

HEADER = "user_id,item_id,event_type,value,timestamp_ms"
RANKING = {
    "live",
    "als",
    "sgd",
    "item_mean",
    "item_to_item_cosine",
    "item_to_item_directed",
    "decayed_popularity_69",
    "decayed_popularity_138",
    "decayed_popularity_693",
    "decayed_popularity_6931",
    "window_popularity",
    "popularity",
}


def replay(*arguments: object) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIVEFACTOR_")}
    command = [sys.executable, "-m", "livefactor.cli", "replay", *map(str, arguments)]
    return subprocess.run(command, env=inherited, capture_output=True, text=True, timeout=250, check=False)


def facts(*arguments: object) -> dict[str, Any]:
    done = replay(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """60 ratings 1 to 5 by 6 users of 9 items."""
    path = tmp_path / "events.csv"
    rows = [f"u{n % 6},i{n * n % 10},rating,{n % 5 + 1},{1000 + n}" for n in range(60)]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_json_is_one_object_with_everything_promised(events: Path):
    found = facts(events, "--min-value", 3)
    assert {"events", "seconds", "events_per_second", "peak_rss_bytes", "config", "protocol"} <= set(found)
    assert found["events"] == 60
    assert found["config"]["learning"]["min_value"] == 3
    assert "kafka" not in found["config"]
    assert "rating" not in found
    ranking = found["ranking"]
    assert ranking["k"] == 10
    assert ranking["scored"]["all"] == 36 == ranking["scored"]["warm"] + ranking["scored"]["cold"]
    assert set(ranking["models"]) == set(ranking["intervals"]) == RANKING
    for parts in ranking["models"].values():
        assert set(parts) == {"all", "warm", "cold"}
        assert set(parts["warm"]) == {"hr", "ndcg", "mrr", "log_loss"}
    assert "neighbours: after the last, lift" in ranking["weights"]
    assert all(math.isfinite(weight) for weight in ranking["weights"].values())


def test_counts_are_named_and_no_update_of_them_is_refused(tmp_path: Path):
    path = tmp_path / "plays.csv"
    rows = [f"u{n % 7},i{n * n % 11},play,{(1, 3, 40, 1_000_000)[n % 4]},{1000 + n}" for n in range(400)]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    told = {
        strength: replay(path, "--models", "live", "--set", f"learning.strength={strength}").stderr
        for strength in ("log", "value")
    }
    assert "values look like counts or amounts" in told["log"]
    assert "refused" not in told["log"]
    assert 'set learning.strength to "log" or "binary"' in told["value"]
    assert "updates refused" in told["value"]


def test_explicit_feedback_is_rated_as_well(events: Path):
    found = facts(events, "--explicit", "--k", 3)
    assert set(found["rating"]["models"]) == {
        *("live", "als", "sgd"),
        *("running_mean", "baseline", "biased_mf"),
    }
    assert all(0 < errors["mae"] <= errors["rmse"] < 4 for errors in found["rating"]["models"].values())
    assert set(found["ranking"]["models"]) == RANKING
    assert found["ranking"]["weights"] == {}
    assert found["config"]["learning"]["feedback"] == "explicit"


def test_two_processes_agree(events: Path):
    one, other = (facts(events, "--repeats", "--sample", 2) for _ in range(2))
    assert one["ranking"] == other["ranking"]


def test_the_largest_mistakes_are_told_in_both_forms(events: Path):
    found = facts(events, "--models", "live", "--explain", 2)["mistakes"]
    assert len(found) == 2
    told = replay(events, "--models", "live", "--explain", 2)
    rows = [line.split("\t") for line in told.stdout.splitlines()]
    start = next(at for at, row in enumerate(rows) if row[:4] == ["event", "user", "item", "rank"])
    wanted = [(str(each["event"]), each["wanted"]["item"]) for each in found]
    assert [(row[0], row[2]) for row in rows[start + 1 : start + 5 : 2]] == wanted
    refused = replay(events, "--explain", 2, "--set", "ranking.model=factors")
    assert refused.returncode == 2
    assert 'with ranking.model = "blend"' in refused.stderr


def test_people_get_tables_and_the_protocol(events: Path):
    done = replay(events, "--models", "live,popularity", "--progress", "--set", "learning.rank=2")
    assert done.returncode == 0
    assert "model (warm)\tHR@10\tNDCG@10\tMRR\tlog loss\tHR@10 between" in done.stdout
    assert [line.split("\t")[0] for line in done.stdout.splitlines()].count("popularity") == 3
    assert "history: the user's last 100 learnt interactions" in done.stdout


def test_a_rank_larger_than_the_catalogue_works(events: Path):
    assert facts(events, "--set", "learning.rank=64")["events"] == 60


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--limit", 0], 2, "--limit"),
        (["--models", "live,nonsense"], 2, "unknown models: nonsense"),
        (["--explicit", "--min-value", 3], 2, "learning.min_value is for"),
        (["--set", "learning.rnak=3"], 2, "rank"),
    ],
)
def test_wrong_options_exit_with_2(events: Path, arguments: list[object], code: int, message: str):
    done = replay(events, *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stdout == ""


def test_odd_files_are_replayed_and_what_is_odd_is_said(events: Path):
    content = events.read_text().splitlines()
    events.write_text("\n".join([HEADER, *reversed(content[1:]), "u1,i1,rating,good,5"]) + "\n")
    done = replay(events, "--json", "--limit", 50)
    found = json.loads(done.stdout)
    assert found["events"] == 50
    assert found["input"] == {
        "sorted": False,
        "bad_rows": 1,
        "bad_rows_by_reason": {"value is not a number": 1},
        "first_bad_rows": [{"line": 62, "reason": "value is not a number"}],
        "damage": None,
    }
    assert "were not in time order: sorted" in done.stderr
    assert "line 62: value is not a number" in done.stderr


def test_events_that_teach_nothing_and_refused_updates_are_counted(events: Path):
    with events.open("a") as file:
        file.write("u1,i1,rating,,2000\nu2,i2,impression,3,2001\n")
    done = replay(
        events, "--json", "--explicit", "--set", "learning.algorithm=sgd", "--set", "learning.norm_max=0.05"
    )
    assert "2 events taught nothing" in done.stderr
    assert "60 updates refused, rows kept as they were: norm" in done.stderr
    assert json.loads(done.stdout)["counts"]["refused_norm"] == 60


def test_a_file_cut_short_is_replayed_as_far_as_it_goes_and_exits_with_1(tmp_path: Path):
    rows = [f"u{n * n % 997},i{n * n * n % 89},,{n * n % 7},{n}" for n in range(3_000)]
    path = tmp_path / "events.csv.gz"
    path.write_bytes(gzip.compress("\n".join([HEADER, *rows]).encode())[:-3_000])
    done = replay(path, "--json", "--models", "popularity")
    assert done.returncode == 1
    assert 0 < json.loads(done.stdout)["events"] < 3_000
    assert "cut short" in done.stderr
    strict = replay(path, "--json", "--strict")
    assert (strict.returncode, strict.stdout) == (1, "")


@pytest.mark.parametrize("content", ["", HEADER + "\n", "who,what\n1,2\n"])
def test_files_with_nothing_to_replay_are_an_error(tmp_path: Path, content: str):
    path = tmp_path / "events.csv"
    path.write_text(content)
    done = replay(path, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(path) in done.stderr


@pytest.mark.slow
def test_ratings_of_movielens_have_rivers_errors_and_live_smaller_ones():
    """Those of `stats.Mean`, `reco.Baseline` and `reco.BiasedMF`, predictions clipped to 1 to 5."""
    file = realdata.folder("movielens-100k") / "events.csv.gz"
    wanted = "live,running_mean,baseline,biased_mf"
    models = facts(file, "--explicit", "--models", wanted, "--sample", 100_000)["rating"]["models"]
    expected = {
        "running_mean": (0.942151, 1.125752),
        "baseline": (0.754656, 0.954128),
        "biased_mf": (0.748559, 0.947854),
    }
    for name, (mae, rmse) in expected.items():
        assert models[name]["mae"] == pytest.approx(mae, abs=1e-3)
        assert models[name]["rmse"] == pytest.approx(rmse, abs=1e-3)
    assert models["live"]["mae"] < 0.733
    assert models["live"]["rmse"] < 0.932
