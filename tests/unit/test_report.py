"""The page of a replay: numbers by hand, nothing from outside, and nothing that a name could break."""

import doctest
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from streams import pairs, random_likes, settings, stream

import livefactor.replay.series
from livefactor.page.document import ReportError, encoded, inert, prepare, write
from livefactor.replay.recording import Recording
from livefactor.replay.report import plots
from livefactor.replay.run import Measured, report, run
from livefactor.replay.series import (
    calibration,
    errors,
    even_groups,
    moving_means,
    rolling,
    throughput,
    weights,
    windows,
)
from state.scoring import blend
from stream.evaluation.panel import Scores
from stream.evaluation.trace import Certainty, Mark, Trace
from stream.replay import Plan, Replay, model_names

HOSTILE = "<script>alert('x')</script>&\"</title>.csv"


class Blocks(HTMLParser):
    """Start tags with their attributes, and the content of scripts by id."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.open: list[str] = []
        self._id: str | None = None

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._id = dict(attrs).get("id") or "program"
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._id = None

    def handle_data(self, data):
        if self._id:
            self.scripts[self._id] = self.scripts.get(self._id, "") + data


def parsed(page: str) -> Blocks:
    blocks = Blocks()
    blocks.feed(page)
    blocks.close()
    assert blocks.open == []
    return blocks


def reported(directory: Path, events, name: str = "events.csv", plan: Plan | None = None, **sections):
    configured, plan = settings(**sections), plan or Plan()
    recording = Recording(events)
    measured = run(recording, configured, plan, 10, traced=True)
    facts = report(recording, measured, configured, plan, 10)
    drawn = plots(name, recording, measured, 10)
    return write(directory, "replay", facts, drawn).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("report")
    return directory, reported(directory, stream(random_likes(300, 20, 30)), HOSTILE)


def test_the_page_holds_the_figures_of_the_file_beside_it(page):
    directory, text = page
    embedded = json.loads(parsed(text).scripts["figures"])
    assert embedded == json.loads((directory / "replay.json").read_bytes())
    assert list(embedded["ranking"]["models"]) == model_names()


def test_the_page_needs_nothing_but_itself(page):
    _, text = page
    blocks = parsed(text)
    assert not re.search(r"https?:|//[a-z0-9.-]+/", text)
    assert {tag for tag, _ in blocks.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "noscript", "p", "svg", "script")
    }
    assert not [attributes for _, attributes in blocks.tags if {"src", "href"} & set(attributes)]
    assert not re.search(r"@import|url\(|fetch\(|import\(", text)


def test_names_from_outside_are_text_and_never_markup(page):
    _, text = page
    assert json.loads(parsed(text).scripts["series"])["file"] == HOSTILE
    assert "<script>alert" not in text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_json_in_the_page_has_no_markup():
    value = {"<b>": "</script><!--<script>"}
    assert "<" not in inert(encoded(value))
    assert json.loads(inert(encoded(value))) == value


def test_a_name_that_is_no_text_is_shown_as_far_as_it_goes(tmp_path: Path):
    text = reported(tmp_path, pairs("ax bx"), "caf\udce9.csv")
    assert json.loads(parsed(text).scripts["series"])["file"] == "caf?.csv"


def test_ratings_are_plotted_where_there_are_any(tmp_path: Path):
    rows = [{**like, "value": 1 + n % 5} for n, like in enumerate(random_likes(120, 8, 9))]
    explicit = {"rank": 4, "feedback": "explicit", "algorithm": "sgd"}
    blocks = parsed(reported(tmp_path, stream(rows), learning=explicit))
    found = json.loads(blocks.scripts["series"])["ratings"]
    totals = json.loads(blocks.scripts["figures"])["rating"]["models"]
    assert list(found["models"]) == list(totals)
    for name, parts in found["models"].items():
        assert len(parts["mae"]) == len(found["events"]) == 60
        assert np.mean(parts["mae"]) == pytest.approx(totals[name]["mae"], abs=1e-4)


@pytest.mark.parametrize("text", ["ax", "ax bx", "ax ay az"], ids=["nothing asked", "one asked", "one user"])
def test_tiny_streams_have_a_page(tmp_path: Path, text: str):
    found = json.loads(parsed(reported(tmp_path, pairs(text))).scripts["series"])
    assert found["rolling"]["all"]["events"] == list(range(len(text.split())))
    assert found["ratings"] is None
    groups = found["weights"]["groups"]
    assert list(groups) == [
        "taste",
        "neighbours",
        "popularity",
        "popularity, for newcomers",
        "taste, times the pace",
        "neighbours, times the pace",
    ]
    assert {len(values) for group in groups.values() for values in group.values()} == {len(text.split())}


def test_weights_are_those_of_the_model(tmp_path: Path):
    found = json.loads(parsed(reported(tmp_path, pairs("ax ay bx bz cx az by cz cy dz"))).scripts["series"])
    replay = Replay(pairs("ax ay bx bz cx az by cz cy dz"), settings(), Plan())
    while replay.advance():
        pass
    weights, groups = replay.model.globals["weights"], found["weights"]["groups"]
    last = [values[-1] for values in groups["taste"].values()]
    assert last == pytest.approx(weights[: len(last)].tolist(), rel=1e-4)
    total = sum(values[-1] for values in groups["popularity"].values())
    assert total == pytest.approx(weights[blend.POPULARITY : blend.NEIGHBOURS].sum(), rel=1e-3)
    near = [values[-1] for values in groups["neighbours"].values()]
    assert near == pytest.approx(weights[blend.NEIGHBOURS :][: len(near)].tolist(), rel=1e-4)


def test_factors_alone_have_no_weights(tmp_path: Path):
    text = reported(tmp_path, pairs("ax ay bx"), ranking={"model": "factors"})
    assert json.loads(parsed(text).scripts["series"])["weights"] is None


def test_a_stream_without_a_scored_event_has_a_page(tmp_path: Path):
    rows = [{"user_id": "a", "item_id": "x", "value": 1.0}] * 3
    text = reported(tmp_path, stream(rows), learning={"rank": 4, "min_value": 4})
    found = json.loads(parsed(text).scripts["series"])
    assert found["rolling"]["all"] == {
        "window": 0,
        "events": [],
        "models": {name: {"hr": [], "ndcg": [], "mrr": [], "log_loss": []} for name in model_names()},
    }
    assert found["coverage"]["items"] == [0, 0, 0]


def test_rolling_metrics_by_hand():
    """Eight events, so windows of two; six of them warm, so windows of one."""
    ranks = np.array([1, np.inf, 2, 20, np.inf, np.inf, 1, 4], np.float32)
    losses = np.array([1, np.nan, 3, 5, np.nan, np.nan, 2, 4], np.float32)
    warm = np.array([True, False, True, True, False, True, True, True])
    scores = Scores(np.array([4, 5, 9, 11, 12, 20, 21, 30]), warm, {"live": ranks}, {"live": losses})
    everything, part = rolling(scores, np.ones(8, bool), 10), rolling(scores, warm, 10)
    assert (everything["window"], everything["events"]) == (2, [5, 9, 11, 12, 20, 21, 30])
    assert everything["models"]["live"]["hr"] == [0.5, 0.5, 0.5, 0, 0, 0.5, 1]
    assert everything["models"]["live"]["log_loss"] == [1, 3, 4, 5, None, 2, 3]
    assert (part["window"], part["events"]) == (1, [4, 9, 11, 20, 21, 30])
    assert part["models"]["live"]["mrr"] == [1, 0.5, 0.05, 0, 1, 0.25]


def test_windows_are_full_and_end_at_the_last_event():
    assert windows(0)[1].tolist() == []
    assert windows(1) == (1, [1])
    assert windows(400)[0] == 100
    assert windows(4_000)[0] == 400
    window, stops = windows(60_000)
    assert window == 3_000
    assert (stops[0], stops[-1], len(stops)) == (3_000, 60_000, 120)
    assert windows(10**6)[0] == 5_000


def test_means_move_and_leave_out_what_is_not_defined():
    values = np.array([1.0, np.nan, 5.0, np.nan, np.nan])
    assert moving_means(values, 2, np.array([2, 3, 4, 5])) == [1.0, 5.0, 5.0, None]


def test_groups_of_bins_are_about_even():
    assert even_groups(np.array([1, 1, 1, 1, 1, 1]), 3).tolist() == [0, 2, 4]
    assert even_groups(np.array([9, 1, 0, 0]), 3).tolist() == [0, 1]
    assert even_groups(np.zeros(4, np.int64), 3).tolist() == [0]


def test_calibration_by_hand():
    """100 lists thought 10 % likely of which 20 hit: Wilson's interval is 13.3 % to 28.9 %."""
    bins = Certainty(np.array([0, 100, 0]), np.array([0.0, 10.0, 0.0]), np.array([0, 20, 0]))
    found = calibration(bins)
    assert (found["lists"], found["predicted"], found["observed"]) == ([100], [0.1], [0.2])
    assert found["low"] == [pytest.approx(0.1334, abs=1e-4)]
    assert found["high"] == [pytest.approx(0.2888, abs=1e-4)]


def test_throughput_errors_and_weights_by_hand():
    one = Mark(10, 2.0, {}, {"taste": {"user": 0.5}})
    other = Mark(30, 4.0, {}, {"taste": {"user": 0.75, "last item": 0.25}})
    assert throughput([one, other]) == {"events": [10, 30], "events_per_second": [5.0, 10.0]}
    assert weights([one, other]) == {
        "events": [10, 30],
        "groups": {"taste": {"user": [0.5, 0.75], "last item": [None, 0.25]}},
    }
    found = errors([(2, 3.0, 5.0), (2, 3.0, 5.0), (4, 4.0, 13.0)])
    assert found == {"mae": [1.5, None, 0.5], "rmse": [pytest.approx(2.5**0.5, rel=1e-4), None, 2.0]}


def test_a_replay_without_a_trace_has_no_plots():
    recording = Recording(pairs("ax bx"))
    measured: Measured = run(recording, settings(), Plan(), 10)
    assert measured.trace is None
    with pytest.raises(AssertionError, match="only a traced replay"):
        plots("f", recording, measured, 10)


def test_the_directory_is_made_or_refused(tmp_path: Path):
    prepare(tmp_path / "new" / "report")
    assert list((tmp_path / "new" / "report").iterdir()) == []
    (tmp_path / "file").write_text("kept")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ReportError, match=f"no report can be written to {wrong}"):
            prepare(wrong)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_directory_in_which_nothing_can_be_made_is_refused():
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("NO /proc HERE: it is a directory that nobody can write to")
    with pytest.raises(ReportError):
        prepare(Path("/proc/self/fd"))


def test_trace_of_nothing_has_no_curves():
    assert throughput(Trace(0, 1, 1).marks) == {"events": [], "events_per_second": []}


def test_examples_in_the_docstrings():
    done = doctest.testmod(livefactor.replay.series)
    assert done == (0, done.attempted)
