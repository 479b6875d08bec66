"""Tuning: what is measured where, what a journal keeps, and when settings count as better."""

import math
from dataclasses import replace

import numpy as np
import pytest
from streams import random_likes, settings, stream

from livefactor.settings import differing, load, tables_to_toml
from livefactor.tune.comparison import compare, is_better
from livefactor.tune.measuring import Figures, Task, TuneError, Work, Workers, measure, with_values
from livefactor.tune.run import Request, Tuning, scorable, stretches_of
from livefactor.tune.trials import Journal, Trial
from state.errors import ConfigError
from stream.replay import Plan, Replay

EVENTS = 1_500
LIKES = random_likes(EVENTS, 40, 180)
EXPLICIT = {"learning": {"rank": 4, "feedback": "explicit", "algorithm": "sgd"}}
CANDIDATE = (("als.reg", 0.5), ("learning.rank", 8))
TRIAL = Trial(CANDIDATE, 30, -0.5, None, 0.1)


def go_on():
    return False


def ignore(*_):
    pass


def work(events=LIKES, configured=None, metric="ndcg", **plan):
    return Work(stream(events), configured or settings(), Plan(models=["live"], **plan), metric, 10)


def ratings(count, seed=1):
    random = np.random.default_rng(seed)
    return [
        {**like, "value": float(value)}
        for like, value in zip(random_likes(count, 20, 120), random.integers(1, 6, count), strict=True)
    ]


def tuned(path, given, trials=4, **request):
    with Tuning(given, Request(trials, 1, **{"jobs": 1, "held": (), **request}), path / "journal") as tuning:
        best = tuning.search(go_on, ignore)
        return tuning.report(best, ignore)


def figures(ndcg, *, warm=True, failure=None, squared=()):
    count = len(ndcg)
    values = {metric: np.asarray(ndcg, np.float64) for metric in ("hr", "ndcg", "mrr", "log_loss")}
    errors = np.asarray(squared, np.float64)
    return Figures(np.arange(count), np.full(count, warm), values, np.sqrt(errors), errors, failure, 0.0)


def test_a_task_measures_what_a_replay_does():
    given = work()
    replay = Replay(given.stream, with_values(given.settings, CANDIDATE), given.plan)
    while replay.advance():
        pass
    scores = replay.result().scores
    measured = measure(given, Task(CANDIDATE, EVENTS, 270), go_on, ignore)
    later = scores.events >= 270
    assert measured.events.tolist() == scores.events[later].tolist()
    assert measured.ranking["hr"].tolist() == (scores.ranks["live"][later] <= 10).tolist()
    assert measured.loss("hr") == -(scores.ranks["live"][later & scores.warm] <= 10).mean()


def test_errors_of_ratings_are_those_after_the_first_event():
    given = work(ratings(300), settings(**EXPLICIT), "rmse")
    replay = Replay(given.stream, given.settings, given.plan)
    while replay.done < 100:
        replay.advance()
    before = replace(replay.result().ratings["live"])
    while replay.advance():
        pass
    after = replay.result().ratings["live"]
    measured = measure(given, Task((), 300, 100, ranked=False), go_on, ignore)
    assert len(measured.squared) == 200
    assert len(measured.events) == 0
    assert measured.loss("rmse") == pytest.approx(math.sqrt((after.squared - before.squared) / 200))
    assert measured.loss("mae") == pytest.approx((after.absolute - before.absolute) / 200)


def test_a_replay_whose_updates_are_refused_has_failed():
    measured = measure(work(configured=settings(learning={"norm_max": 1e-3})), Task((), 300), go_on, ignore)
    assert "diverged: updates refused in 300 events" in measured.failure
    assert measured.loss("ndcg") == math.inf


def test_a_search_without_time_is_an_error(tmp_path):
    with (
        Tuning(work(), Request(3, 1, 1, ()), tmp_path / "journal") as tuning,
        pytest.raises(TuneError, match="time ran out"),
    ):
        tuning.search(lambda: True, ignore)


def test_the_search_sees_nothing_of_the_rest(tmp_path):
    """Another rest gives the same losses."""
    other = [*LIKES[: EVENTS * 3 // 10], *random_likes(EVENTS * 7 // 10, 30, 25, seed=9)]
    journals = []
    for number, events in enumerate((LIKES, other)):
        path = tmp_path / str(number)
        path.mkdir()
        tuned(path, work(events))
        lines = (path / "journal").read_bytes().splitlines()[1:]
        journals.append([line.partition(b',"seconds"')[0] for line in lines])
    assert journals[0] == journals[1]
    assert len(journals[0]) > 4


def test_the_report_is_of_the_rest_only(tmp_path):
    outcome = tuned(tmp_path, work())
    assert (outcome.searched, outcome.reported) == (450, 1_050)
    assert outcome.parts["all"].events == 1_050
    assert outcome.parts["warm"].events + outcome.parts["cold"].events == 1_050


def test_two_processes_measure_the_same_as_one(tmp_path):
    given = work()
    tasks = [Task(CANDIDATE, 200), Task((), 300)]
    losses = []
    for jobs in (1, 2):
        workers = Workers(given, jobs)
        measured = dict(workers.run(tasks, go_on, ignore))
        workers.close()
        losses.append([measured[task].loss("ndcg") for task in tasks])
    assert losses[0] == losses[1]


def test_a_second_run_takes_everything_from_the_journal(tmp_path):
    first = tuned(tmp_path, work())
    again = tuned(tmp_path, work())
    assert (first.resumed, again.resumed) == (0, first.measured)
    assert again.measured == first.measured
    assert (again.changed, again.parts) == (first.changed, first.parts)
    more = tuned(tmp_path, work(), trials=8)
    assert more.resumed == first.measured < more.measured


def test_a_last_line_cut_short_is_dropped(tmp_path):
    path = tmp_path / "journal"
    for cut in (0, 5):
        journal = Journal(path, {"a": 1})
        assert journal.resumed == (1 if cut else 0)
        journal.add(TRIAL)
        journal.add(replace(TRIAL, events=90, loss=None, failure="diverged " * 9))
        journal.close()
        path.write_bytes(path.read_bytes()[:-5])
    journal = Journal(path, {"a": 1})
    assert journal.find(CANDIDATE, 30) == TRIAL
    assert journal.find(CANDIDATE, 90) is None
    journal.add(replace(TRIAL, events=91))
    journal.close()
    assert Journal(path, {"a": 1}).find(CANDIDATE, 91) is not None
    assert path.read_bytes().endswith(b"}\n")


def test_a_header_cut_short_is_begun_anew(tmp_path):
    path = tmp_path / "journal"
    Journal(path, {"a": 1}).close()
    path.write_bytes(path.read_bytes()[:-3])
    assert Journal(path, {"a": 2}).resumed == 0


def test_a_journal_of_something_else_is_refused_and_says_what_differs(tmp_path):
    path = tmp_path / "journal"
    Journal(path, {"--k": 10, "als": {"reg": 0.1, "alpha": 1}}).close()
    with pytest.raises(ConfigError, match=r"different: als\.reg\. Delete it"):
        Journal(path, {"--k": 10, "als": {"reg": 0.2, "alpha": 1}})


@pytest.mark.parametrize("content", ["not a journal", "[1]\n", '{"format": "other"}\n', "\xff\n"])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "journal"
    path.write_text(content)
    with pytest.raises(ConfigError, match="line 1 is not of a journal"):
        Journal(path, {"a": 1})
    assert path.read_text() == content


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"candidate": [["a", "b"]]}', "7"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "journal"
    Journal(path, {"a": 1}).close()
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ConfigError, match="line 2 is not of a journal"):
        Journal(path, {"a": 1})


def test_a_journal_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be used"):
        Journal(tmp_path, {"a": 1})


def test_too_few_events_to_score_are_refused_with_their_number():
    with pytest.raises(ConfigError, match="300 events, the second half holds 50 that can be scored"):
        stretches_of(np.concatenate([np.arange(100), np.arange(250, 1000)]), 300)


def test_a_stretch_has_enough_events_to_score():
    assert stretches_of(np.arange(2000), 1800) == [200, 600, 1800]
    assert stretches_of(np.arange(1000), 600) == [200, 600]
    assert stretches_of(np.arange(101, 1000), 600) == [600]


def test_scorable_events_are_about_those_that_a_replay_finds_warm():
    for repeats in (False, True):
        given = work(configured=settings(ranking={"repeats": repeats}))
        measured = measure(given, Task((), EVENTS), go_on, ignore)
        counted = len(scorable(given))
        assert counted == pytest.approx(measured.warm.sum(), rel=0.1)
    sampled = len(scorable(replace(given, plan=Plan(3, models=["live"]))))
    assert sampled == -(-counted // 3)


def test_every_setting_held_is_refused(tmp_path):
    names = ("learning.rank", "als.reg", "als.alpha", "als.recency")
    with pytest.raises(ConfigError, match="held by --set"):
        Tuning(work(), Request(3, 1, 1, names), tmp_path / "journal")


def test_better_is_beyond_the_interval():
    random = np.random.default_rng(1)
    noise = random.normal(size=5_000)
    default = figures(noise)
    assert is_better(default, figures(noise + 0.1 + 0.1 * random.normal(size=5_000)), "ndcg")
    assert not is_better(default, figures(noise + 0.1 + 0.1 * random.normal(size=5_000)), "log_loss")
    assert is_better(default, figures(noise - 0.1 + 0.1 * random.normal(size=5_000)), "log_loss")
    assert not is_better(default, figures(noise + random.normal(size=5_000) * 10), "ndcg")
    assert not is_better(default, default, "ndcg")


def test_too_few_events_for_an_interval_prove_nothing():
    assert not is_better(figures(np.zeros(50)), figures(np.ones(50)), "ndcg")


def test_settings_that_fail_on_the_rest_are_not_better_and_better_than_ones_that_do():
    good, bad = figures(np.zeros(500)), figures(np.ones(500), failure="diverged")
    assert not is_better(good, bad, "ndcg")
    assert is_better(bad, good, "ndcg")


def test_differences_are_of_the_same_events_and_of_roots_for_ratings():
    random = np.random.default_rng(2)
    one, other = random.random(3_000), random.random(3_000) + 0.5
    part = compare(figures(one, squared=one), figures(other, squared=other))["ratings"]
    rmse = part.metrics["rmse"]
    expected = math.sqrt(other.mean()) - math.sqrt(one.mean())
    assert rmse.difference == pytest.approx(expected)
    assert rmse.interval[0] < expected < rmse.interval[1]
    draws = random.integers(3_000, size=(500, 3_000))
    roots = np.sqrt(other[draws].mean(axis=1)) - np.sqrt(one[draws].mean(axis=1))
    assert rmse.interval[1] - rmse.interval[0] == pytest.approx(4 * roots.std(), rel=0.2)


def test_settings_that_fail_everywhere_are_an_error_with_the_reason(tmp_path):
    given = work(configured=settings(learning={"norm_max": 1e-3}))
    with pytest.raises(TuneError, match="diverged: updates refused"):
        tuned(tmp_path, given)


def test_only_what_differs_is_written_and_reads_back(tmp_path):
    chosen = with_values(load(None, {}, ["learning.min_value=4"]), (("als.reg", 0.5), ("learning.rank", 8)))
    assert differing(chosen) == {"learning": {"min_value": 4.0, "rank": 8}, "als": {"reg": 0.5}}
    path = tmp_path / "tuned.toml"
    path.write_text(tables_to_toml(differing(chosen)))
    assert load(path, {}) == chosen
