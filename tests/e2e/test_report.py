"""The report in a real browser: the plots are drawn, and nothing goes wrong on the way."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from streams import random_likes

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HEADER = "user_id,item_id,event_type,value,timestamp_ms"
SECTIONS = [
    "Accuracy over time",
    "Where every model ended",
    "All figures",
    "Warm and cold",
    "Calibration",
    "Catalogue coverage",
    "Popularity share",
    "Weights",
    "Throughput",
    "How this was measured",
]


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"NO BROWSER: one of {', '.join(BROWSERS)} is needed to see the report drawn")
    return found


def livefactor(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "livefactor.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def replay(*arguments: object) -> subprocess.CompletedProcess[str]:
    return livefactor("replay", *arguments)


def recorded(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def likes(count: int) -> list[str]:
    rows = enumerate(random_likes(count, 30, 40))
    return [f"{like['user_id']},{like['item_id']},rating,{1 + n % 5},{1000 + n}" for n, like in rows]


def drawn(browser: str, page: Path, profile: Path) -> tuple[str, list[str]]:
    """The document after its scripts have run, and what they left on the console."""
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={profile}", "--window-size=1200,900", "--virtual-time-budget=5000"),
        *("--enable-logging=stderr", "--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, re.findall(r".*(?:CONSOLE|Uncaught|Refused to).*", done.stderr)


def curves(document: str) -> int:
    """Lines with at least two points, none of them beside the plane."""
    paths = re.findall(r'<path class="curve [a-z]+" d="([^"]*)"', document)
    assert not [path for path in paths if "NaN" in path or "Infinity" in path]
    return len([path for path in paths if re.fullmatch(r"M[\d.]+,[\d.]+(L[\d.]+,[\d.]+)+", path)])


def sections(document: str) -> list[str]:
    return re.findall(r"<h2>([^<]*)</h2>", document)


def test_all_plots_are_drawn(browser: str, tmp_path: Path):
    file = recorded(tmp_path / "<script>alert(1)<b>.csv", likes(900))
    done = replay(file, "--report", tmp_path / "report", "--json")
    assert done.returncode == 0, done.stderr
    assert f"report: {tmp_path}/report/index.html" in done.stderr
    assert json_is(done.stdout, tmp_path / "report" / "replay.json")
    document, said = drawn(browser, tmp_path / "report" / "index.html", tmp_path / "profile")
    assert said == []
    assert sections(document) == SECTIONS
    #  12 models, warm share, 2 or 3 log losses, coverage 2, popularity 3, throughput
    assert curves(document) >= 12 + 1 + 2 + 2 + 3 + 1
    assert document.count('class="whisker"') >= 2
    assert document.count('class="bar ') >= 12
    assert "<h1>Replay of &lt;script&gt;alert(1)&lt;b&gt;.csv</h1>" in document


def test_ratings_are_drawn_too(browser: str, tmp_path: Path):
    replay(recorded(tmp_path / "events.csv", likes(600)), "--explicit", "--report", tmp_path)
    document, said = drawn(browser, tmp_path / "index.html", tmp_path / "profile")
    assert said == []
    assert sections(document) == [
        *SECTIONS[:2],
        "Ratings",
        *(name for name in SECTIONS[2:] if name != "Weights"),
    ]
    assert curves(document) >= 11 + 4


@pytest.mark.parametrize(
    ("rows", "arguments"),
    [
        (["a,x,like,,1"], []),
        (["a,x,like,,1", "b,x,like,,2"], ["--models", "popularity"]),
        (["a,x,rating,1,1", "b,x,rating,1,2"], ["--min-value", 4]),
    ],
    ids=["one event", "one rank", "nothing scored"],
)
def test_little_is_shown_without_an_error(
    browser: str, tmp_path: Path, rows: list[str], arguments: list[object]
):
    replay(recorded(tmp_path / "events.csv", rows), *arguments, "--report", tmp_path)
    document, said = drawn(browser, tmp_path / "index.html", tmp_path / "profile")
    assert said == []
    weighs_nothing = {"Weights"} if "--models" in arguments else set[str]()
    assert sections(document) == [name for name in SECTIONS if name not in weighs_nothing]
    assert not re.search("NaN|Infinity|undefined", document[: document.index("<script")])


@pytest.mark.parametrize("fault", ["shuffle-labels", "rename-fields", "none"])
def test_a_drill_is_drawn(browser: str, tmp_path: Path, fault: str):
    file = recorded(tmp_path / "<b>.csv", likes(1_500))
    done = livefactor("drill", file, "--fault", fault, "--report", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert f"report: {tmp_path}/index.html" in done.stderr
    assert json_is(done.stdout, tmp_path / "drill.json")
    document, said = drawn(browser, tmp_path / "index.html", tmp_path / "profile")
    assert said == []
    disturbed = fault != "none"
    assert sections(document) == [
        "Around the fault",
        "The whole stream",
        *(["What it costs"] if disturbed else []),
        "What was told",
        "All figures",
    ]
    # of live, baseline and twin, twice; nothing is frozen so early
    assert curves(document) >= 6 + disturbed
    assert document.count('<line class="mark"') >= 6 * disturbed
    assert f"<h1>Drill: {fault} in &lt;b&gt;.csv</h1>" in document
    assert ("records_rejected" in document) == (fault == "rename-fields")


def test_a_directory_that_cannot_be_is_refused_before_anything_is_read(tmp_path: Path):
    (tmp_path / "file").write_text("")
    done = replay(tmp_path / "missing.csv", "--report", tmp_path / "file")
    assert done.returncode == 1
    assert done.stderr == f"livefactor: no report can be written to {tmp_path}/file: File exists\n"


def json_is(printed: str, path: Path) -> bool:
    """Whether what was printed is what the file holds."""
    return bool(printed) and printed.strip() == path.read_text().strip()
