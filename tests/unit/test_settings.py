"""Settings: layers, provenance, unknown names, contradictions, and the page generated from them."""

from pathlib import Path

import pytest

from livefactor.reference import settings_markdown
from livefactor.settings import Settings, environment_names, load, to_toml
from state.errors import ConfigError

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "livefactor.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path | None, environ: dict[str, str], overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ, overrides)
    return str(caught.value).splitlines()


def test_without_anything_the_defaults_hold_and_do_not_contradict_each_other():
    assert load(None, {}) == Settings()


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path):
    path = write(tmp_path, "[learning]\nrank = 8\nseed = 8\n[model]\nname = 'file'\n")
    environ = {"LIVEFACTOR_LEARNING_RANK": "16", "LIVEFACTOR_LEARNING_SEED": "16"}
    settings = load(path, environ, ["learning.rank=64"])
    assert (settings.learning.rank, settings.learning.seed, settings.model.name) == (64, 16, "file")
    assert settings.learning.init_std == Settings().learning.init_std


def test_the_example_file_is_valid_and_holds_the_contract_keys():
    settings = load(ROOT / "livefactor.example.toml", {})
    assert settings.kafka["bootstrap.servers"] == "127.0.0.1:9092"
    assert settings.topics.interactions == "livefactor.interactions.v1"
    assert (settings.state.rows_max, settings.state.sync) == (2_000_000, "interval")
    assert (settings.model.name, settings.serving.listen) == ("default", "127.0.0.1:50051")
    assert (settings.learning.algorithm, settings.learning.rank, settings.learning.seed) == ("als", 32, 1)


def test_an_unknown_key_is_named_with_its_file_and_the_nearest_known_one(tmp_path: Path):
    path = write(tmp_path, "[learning]\nrnak = 8\n")
    assert mistakes(path, {}) == [f"{path}: [learning] rnak is not a known setting; did you mean rank?"]


def test_an_unknown_section_is_named_with_the_nearest_known_one(tmp_path: Path):
    path = write(tmp_path, "[lerning]\nrank = 8\n")
    assert mistakes(path, {}) == [f"{path}: [lerning] is not a known section; did you mean learning?"]


def test_an_unknown_environment_variable_is_an_error():
    assert mistakes(None, {"LIVEFACTOR_LEARNING_RNAK": "8"}) == [
        "environment variable LIVEFACTOR_LEARNING_RNAK is not known; did you mean LIVEFACTOR_LEARNING_RANK?"
    ]


def test_environment_variables_of_others_and_of_the_test_suite_are_left_alone():
    environ = {"PATH": "/bin", "LIVEFACTOR_TEST_DATA": "/data", "LIVEFACTOR_CONFIG": "x.toml"}
    assert load(None, environ) == Settings()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("learning.rnak=8", "learning.rnak is not a known setting; did you mean rank?"),
        ("lerning.rank=8", "lerning is not a known section; did you mean learning?"),
        ("rank=8", "write it as --set section.key=value"),
        ("learning.rank", "write it as --set section.key=value"),
    ],
)
def test_a_wrong_flag_says_what_is_wrong_with_it(override: str, expected: str):
    assert mistakes(None, {}, (override,)) == [f"--set {override}: {expected}"]


def test_all_mistakes_are_reported_at_once_each_with_where_it_came_from(tmp_path: Path):
    path = write(tmp_path, "[learning]\nrank = 'many'\nrnak = 8\n")
    lines = mistakes(path, {"LIVEFACTOR_SERVING_K_MAX": "0"}, ("state.sync=sometimes",))
    assert len(lines) == 4
    assert f"{path}: [learning] rank: must be a whole number, not 'many'" in lines
    assert any(
        line.startswith("environment variable LIVEFACTOR_SERVING_K_MAX: must be greater") for line in lines
    )
    assert any(line.startswith("--set state.sync=sometimes: must be 'always'") for line in lines)


def test_a_contradiction_between_sections_names_both_settings():
    [line] = mistakes(None, {}, ("state.rows_max=500000",))
    assert "state.rows_max (500,000) must be above state.items_max (500,000)" in line


def test_rows_must_have_room_for_every_user_that_one_als_micro_batch_may_touch():
    room = 1_000 * 101
    load(None, {}, (f"state.rows_max={500_000 + room}",))
    [line] = mistakes(None, {}, (f"state.rows_max={500_000 + room - 1}",))
    assert "may need 101,000" in line


def test_sgd_needs_room_for_the_users_of_one_micro_batch_only():
    load(None, {}, ("learning.algorithm=sgd", f"state.rows_max={500_000 + 10_000}"))
    assert mistakes(None, {}, ("learning.algorithm=sgd", f"state.rows_max={500_000 + 9_999}"))


def test_two_topics_may_not_share_a_name():
    [line] = mistakes(None, {}, ("topics.dlq=livefactor.interactions.v1",))
    assert '"livefactor.interactions.v1" is used twice' in line


def test_kafka_keys_keep_their_dots_from_file_environment_and_flag(tmp_path: Path):
    path = write(tmp_path, "[kafka]\nsecurity.protocol = 'SSL'\n'client.id' = 'a'\n")
    environ = {"LIVEFACTOR_KAFKA_BOOTSTRAP_SERVERS": "broker:9092"}
    settings = load(path, environ, ["kafka.socket.timeout.ms=5000"])
    assert settings.kafka == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "SSL",
        "client.id": "a",
        "socket.timeout.ms": "5000",
    }


def test_rocksdb_options_from_text_become_numbers_where_they_are_numbers():
    settings = load(None, {"LIVEFACTOR_ROCKSDB_MAX_OPEN_FILES": "512"})
    assert settings.rocksdb == {"max_open_files": 512}


def test_a_table_can_be_set_whole_or_one_entry_at_a_time():
    whole = load(None, {"LIVEFACTOR_DECODE_EVENT_WEIGHTS": "{ click = 2 }"})
    assert whole.decode.event_weights == {"click": 2.0}
    entry = load(None, {}, ["decode.event_weights.click=2"])
    assert entry.decode.event_weights == {"impression": 0.0, "click": 2.0}


def test_optional_settings_can_be_emptied(tmp_path: Path):
    path = write(tmp_path, "[learning]\nmin_value = 3\n")
    assert load(path, {}, ["learning.min_value=none"]).learning.min_value is None


@pytest.mark.parametrize("text", ["[learning\nrank = 1", "\x00"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, text: str):
    path = write(tmp_path, text)
    assert mistakes(path, {})[0].startswith(f"{path}: not valid TOML")


def test_a_missing_file_is_named(tmp_path: Path):
    assert mistakes(tmp_path / "no.toml", {}) == [f"{tmp_path / 'no.toml'}: there is no such settings file"]


def test_settings_written_as_toml_read_back_the_same(tmp_path: Path):
    overrides = ['kafka.sasl.password=a"b\\c', "decode.event_weights.add to cart=2.5", "learning.min_value=3"]
    settings = load(None, {}, overrides)
    assert load(write(tmp_path, to_toml(settings)), {}) == settings


def test_a_webhook_is_set_by_file_variable_and_flag(tmp_path: Path):
    in_file = write(tmp_path, '[drift.webhooks.ops]\nurl = "https://a.example/x"\nformat = "slack"\n')
    variable = {"LIVEFACTOR_DRIFT_WEBHOOKS": '{ ops = { url = "https://a.example/x", format = "slack" } }'}
    flags = ["drift.webhooks.ops.url=https://a.example/x", "drift.webhooks.ops.format=slack"]
    found = [load(in_file, {}), load(None, variable), load(None, {}, flags)]
    assert [settings.drift.webhooks["ops"].format for settings in found] == ["slack"] * 3
    assert found[0] == found[1] == found[2] == load(write(tmp_path, to_toml(found[0])), {})
    moved = load(in_file, {}, ["drift.webhooks.ops.url=http://b.example"])
    assert (moved.drift.webhooks["ops"].url, moved.drift.webhooks["ops"].format) == (
        "http://b.example",
        "slack",
    )


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("ops.url=ftp://hush", "begins with http:// or https://"),
        ("ops.url=https://", "has a host"),
        ("ops.secret=hush", "openssl rand -base64 32"),
        ("ops.secret=whsec_aHVzaA==", "24 to 64 bytes"),
        ("ops.uri=https://hush", "Extra inputs are not permitted"),
        ("ops.format=hush", "'event', 'slack' or 'alertmanager'"),
        ("no name.url=https://hush", "should match pattern"),
        ("ops=hush", "drift.webhooks.ops"),
    ],
)
def test_a_wrong_webhook_is_named_and_its_secrets_are_not(flag: str, words: str):
    with pytest.raises(ConfigError) as caught:
        load(None, {}, ["drift.webhooks.ops.url=https://a.example", f"drift.webhooks.{flag}"])
    assert words in str(caught.value)
    assert "hush" not in str(caught.value)


def test_every_known_environment_name_is_understood():
    names = [name for name in environment_names() if not name.endswith(("CONFIG", "SERVERS"))]
    assert "LIVEFACTOR_STATE_ROWS_MAX" in names
    with pytest.raises(ConfigError) as caught:
        load(None, dict.fromkeys(names, "?"))
    assert "is not known" not in str(caught.value)


def test_the_settings_page_is_fresh():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == settings_markdown(), "run: livefactor settings --markdown > docs/configuration.md"


@pytest.mark.parametrize(
    ("file", "override"),
    [
        ("", "kafak.sasl.password=hush"),
        ('[kafka]\n"sasl.password" = ["hush"]\n', "learning.rank=0"),
    ],
)
def test_a_secret_is_in_no_error(tmp_path: Path, file: str, override: str):
    path = tmp_path / "livefactor.toml"
    path.write_text(file)
    with pytest.raises(ConfigError) as caught:
        load(path, {}, [override, "no.such=1"])
    assert "hush" not in str(caught.value)
