"""`livefactor versions` on a store whose states were kept while it learnt."""

import hashlib
import json
import shutil
from contextlib import closing

import numpy as np
import pytest
from pipeline import INTERACTIONS, Feed, event, in_directory, small_settings
from typer.testing import CliRunner

from livefactor.cli import app
from state.digest import digest
from state.errors import (
    LivefactorError,
    StoreCorruptError,
    StoreError,
    StoreMissingError,
    VersionMissingError,
)
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader
from state.rocksdb.versions import Versions
from state.rocksdb.writer import RocksWriter
from stream.engine import Engine
from stream.lineage.bases import begin, keep_version
from stream.lineage.identity import identity
from stream.source import LogIdentity

BATCHES = 3
NAMES = ["g1.2", "g1.3", "g1.4"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store with three versions, one after each micro-batch."""
    settings = in_directory(small_settings(), tmp_path_factory.mktemp("store"))
    with closing(RocksWriter(settings.state, identity(settings))) as store:
        engine, feed = Engine(settings, store), Feed()
        begin(engine, {}, "fingerprint", {}, LogIdentity())
        for n in range(BATCHES):
            engine.process([feed(*(event(f"u{m % 8}", f"i{(3 * m + n) % 11}") for m in range(20)))])
            keep_version(engine, f"reason {n}")
    return settings


@pytest.fixture
def settings(kept, tmp_path):
    """Of a copy of that store."""
    copy = in_directory(kept, tmp_path / "store")
    shutil.copytree(kept.state.directory, copy.state.directory)
    return copy


@pytest.fixture
def versions(settings):
    return Versions(Directory(settings.state.directory))


@pytest.fixture
def run(settings):
    """Run a command; its standard output. What Livefactor raises on purpose is raised."""

    def run(*arguments, exit_code=0, directory=settings.state.directory):
        result = CliRunner().invoke(app, ["versions", *arguments, "--set", f"state.directory={directory}"])
        if isinstance(result.exception, LivefactorError):
            raise result.exception
        assert result.exit_code == exit_code, result.output
        return result.stdout

    return run


def test_they_are_listed_oldest_first(run):
    found = json.loads(run("list", "--json"))
    assert [version["version"] for version in found] == NAMES
    assert [version["parent"] for version in found] == [None, *NAMES[:-1]]
    assert [version["reason"] for version in found] == ["reason 0", "reason 1", "reason 2"]
    assert [version["positions"] for version in found] == [
        [{"topic": INTERACTIONS, "partition": 0, "offset": offset}] for offset in (20, 40, 60)
    ]
    made = [version["created_ms"] for version in found]
    assert made == sorted(made)
    assert made[0] > 1_700_000_000_000
    assert not any(version["pinned"] for version in found)
    assert list(found[0]) == ["version", "created_ms", "reason", "parent", "pinned", "positions", "metrics"]
    header, *lines = run("list").splitlines()
    assert header.split("\t")[0] == "version"
    assert [line.split("\t")[0] for line in lines] == NAMES
    assert "HR@10" in lines[-1]


def test_the_last_window_is_what_was_measured(run):
    first, _, last = (version["metrics"] for version in json.loads(run("list", "--json")))
    assert first["scored"] < 10, "windows have ten events: the first is not complete"
    assert (last["scored"], last["k"]) == (10, 10)
    for model in ("live", "popularity"):
        assert 0 <= last[model]["hr"] <= 1
        assert last[model]["log_loss"] > 0


def test_one_is_shown_with_its_files(settings, versions, run):
    facts = json.loads(run("show", NAMES[1], "--json"))
    assert facts["fingerprint"] == "fingerprint"
    assert facts["settings"]["learning"]["rank"] == settings.learning.rank
    database = versions.database(versions.all()[1])
    assert facts["sha256"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in database.iterdir()
    }
    assert facts["size_bytes"] > sum(path.stat().st_size for path in database.iterdir())
    text = run("show", NAMES[1])
    assert f"version: {NAMES[1]}" in text
    assert f"{INTERACTIONS}\t0\t40" in text


def test_a_pinned_one_stays(versions, run):
    run("pin", NAMES[0])
    assert [version["pinned"] for version in json.loads(run("list", "--json"))] == [True, False, False]
    with pytest.raises(StoreError, match="unpin"):
        run("delete", NAMES[0])
    first, _, last = versions.all()
    versions.capture(first, lambda path: path.mkdir())
    versions.complete(first)
    assert versions.pinned(first), "also where it is kept once more"
    assert versions.prune(1) == last
    assert versions.all() == [first, last]
    run("unpin", NAMES[0])
    run("delete", NAMES[0])
    assert versions.all() == [last]
    assert versions.prune(1) is None


def test_what_is_not_there_is_named(settings, run):
    with pytest.raises(VersionMissingError, match=r"g1\.77 is not kept in .* there are g1\.2, g1\.3, g1\.4$"):
        run("show", "g1.77")
    run("show", "seven", exit_code=2)
    shutil.rmtree(settings.state.directory)
    with pytest.raises(StoreMissingError, match="livefactor learn"):
        run("list")


def test_a_folder_that_is_no_version_is_told_and_left(settings, versions):
    for folder, manifest in (("5", "{"), ("6", "[]"), ("7", '{"batch_seq": 7, "parent": 3}')):
        path = settings.state.directory / "versions" / folder
        path.mkdir()
        (path / "manifest.json").write_text(manifest)
    result = CliRunner().invoke(
        app, ["versions", "list", "--json", "--set", f"state.directory={settings.state.directory}"]
    )
    assert [version["version"] for version in json.loads(result.stdout)] == NAMES
    assert result.stderr.count("no version: ") == 3
    assert versions.prune(3) is None


def test_what_a_crash_left_is_cleared_when_a_learner_starts(settings, versions):
    for name in (".5", ".5.deleted"):
        (settings.state.directory / "versions" / name / "database").mkdir(parents=True)
    RocksWriter(settings.state, identity(settings)).close()
    assert [str(version.id) for version in versions.all()] == NAMES
    assert len(list((settings.state.directory / "versions").iterdir())) == 3


def test_what_moved_is_what_the_models_say(settings, run):
    facts = json.loads(run("diff", NAMES[0], NAMES[2], "--json"))
    assert (facts["before"], facts["after"], facts["events"]) == (NAMES[0], NAMES[2], 40)
    assert (facts["users"], facts["items_compared"], facts["users_compared"]) == ([8, 8], 11, 8)
    assert facts["moved"]["users"] > 0 < facts["moved"]["items"]
    assert 0 < facts["top_k"]["shared"] <= 1
    with closing(RocksWriter(settings.state, identity(settings))) as store:
        model = Engine(settings, store).model
    lengths = np.linalg.norm(model.items.vectors[: model.item_count].astype(np.float64), axis=1)
    assert facts["norms"]["items"][1] == pytest.approx(lengths.mean())
    lengths = np.linalg.norm(model.users.vectors[model.users.slots].astype(np.float64), axis=1)
    assert facts["norms"]["users"][1] == pytest.approx(lengths.mean())
    taste = facts["weights"]["taste"]["the last item"]
    assert taste[1] == model.globals["weights"][2] != taste[0]
    assert [each["scored"] for each in facts["metrics"]] == [
        version["metrics"]["scored"] for version in json.loads(run("list", "--json"))[::2]
    ]


def test_nothing_moved_between_a_state_and_itself(run):
    facts = json.loads(run("diff", NAMES[2], "--users", "3", "--k", "4", "--json"))
    assert (facts["after"], facts["events"], facts["users_compared"]) == (None, 0, 3)
    assert facts["moved"] == {"users": 0, "items": 0}
    assert facts["top_k"] == {"k": 4, "shared": 1, "unchanged": 1}
    assert facts["metrics"][0] == facts["metrics"][1]
    lines = run("diff", NAMES[2]).splitlines()
    assert "events: +0" in lines
    assert "users\t8\t8" in lines


def test_an_exported_version_is_imported_elsewhere(settings, versions, run, tmp_path):
    exported, other = tmp_path / "exported" / "first", tmp_path / "other"
    run("export", NAMES[0], str(exported))
    versions.pin(versions.all()[0], pinned=True)
    with pytest.raises(StoreError, match="exists: export to a directory that does not"):
        run("export", NAMES[0], str(exported))
    assert sorted(path.name for path in exported.parent.iterdir()) == ["first"]
    elsewhere = in_directory(settings, other)
    with closing(RocksWriter(elsewhere.state, identity(elsewhere))) as store:
        begin(Engine(elsewhere, store), {}, "fingerprint", {}, LogIdentity())
    for name in ("g0.2", "g0.3"):
        said = run("import", str(exported), "--json", directory=other)
        assert json.loads(said) == {"version": name, "pinned": True}
    there = Versions(Directory(other))
    first, second = there.all()
    assert (first.parent, first.reason, first.imported) == ((0, 0), "imported g1.2: reason 0", True)
    assert first.positions == versions.all()[0].positions
    there.check(second)
    with closing(RocksReader(other, there.database(second))) as reader:
        assert digest(reader) == digest_of(settings, versions)
    assert there.prune(1) is None, "they are not among the newest of this store"
    there.pin(first, pinned=False)
    assert there.prune(1) is None
    assert there.all() == [second]


def digest_of(settings, versions):
    with closing(RocksReader(settings.state.directory, versions.database(versions.all()[0]))) as reader:
        return digest(reader)


def test_what_is_damaged_is_not_exported(settings, versions, run, tmp_path):
    file = min(versions.database(versions.all()[0]).glob("*.sst"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()
    file.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=f"{file} is not the file that was kept"):
        run("export", NAMES[0], str(tmp_path / "exported"))
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("another directory", "is no exported version"),
        ("no checksums", "is no exported version"),
        ("a changed file", "CURRENT is not the file that was kept"),
        ("one file more", "evil is not the file that was kept"),
        ("another rank", "rank"),
        ("another model", "model"),
    ],
)
def test_what_does_not_fit_is_not_imported(settings, versions, run, tmp_path, fault, said):
    exported = tmp_path / "exported"
    run("export", NAMES[0], str(exported))
    manifest = exported / "manifest.json"
    other = settings
    if fault == "another directory":
        manifest.unlink()
    elif fault == "no checksums":
        facts = json.loads(manifest.read_text())
        del facts["sha256"]
        manifest.write_text(json.dumps(facts))
    elif fault == "a changed file":
        (exported / "database" / "CURRENT").write_text("../../etc")
    elif fault == "one file more":
        (exported / "database" / "evil").write_text("x")
    elif fault == "another rank":
        other = small_settings(learning={"rank": 5})
    else:
        other = small_settings(model={"name": "another"})
    other = in_directory(other, tmp_path / "other")
    with closing(RocksWriter(other.state, identity(other))) as store:
        begin(Engine(other, store), {}, "fingerprint", {}, LogIdentity())
    with pytest.raises(StoreError, match=said):
        run("import", str(exported), directory=other.state.directory)
    assert list((other.state.directory / "versions").glob("*")) == []
