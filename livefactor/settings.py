"""All settings in one value: defaults, then one TOML file, then the environment, then flags.

    settings = load(Path("livefactor.toml"), os.environ, ["learning.rank=64"])

`LIVEFACTOR_<SECTION>_<KEY>` sets one key; in `[kafka]`, whose keys have dots, an underscore stands
for a dot: `LIVEFACTOR_KAFKA_BOOTSTRAP_SERVERS`. Names that start with `LIVEFACTOR_TEST_` belong to
the test suite and are left alone; `LIVEFACTOR_CONFIG` names the settings file for the command line.

Every mistake is reported, not only the first, and each says which file, variable or flag it is in.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeGuard, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError, model_validator
from pydantic_core import ErrorDetails

from serving.config import ServingConfig
from state.errors import ConfigError
from stream.config import REMOVE, LearnerSettings
from stream.intake.event_types import fold

ENVIRONMENT_PREFIX = "LIVEFACTOR_"
ENVIRONMENT_CONFIG = "LIVEFACTOR_CONFIG"
ENVIRONMENT_RESERVED = "LIVEFACTOR_TEST_"
PASS_THROUGH = ("kafka", "rocksdb")

SECRET = re.compile(
    r"password|secret|token|key\.pem|credentials|userinfo|oauthbearer\.config|webhooks", re.IGNORECASE
)
"""Keys whose values are shown to nobody."""

MASK = "***"


class Settings(LearnerSettings):
    """Every tunable of Livefactor, checked on its own and against the others."""

    serving: ServingConfig = ServingConfig()

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        problems = list(contradictions(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self


def contradictions(settings: Settings) -> Iterator[str]:
    """What is wrong between settings that are each fine alone, in words."""
    state, learning = settings.state, settings.learning
    if state.rows_max <= state.items_max:
        yield (
            f"state.rows_max ({state.rows_max:,}) must be above state.items_max ({state.items_max:,}): "
            "items are always resident and users need room too; raise state.rows_max"
        )
    else:
        yield from _user_room(settings)
    names = [getattr(settings.topics, key) for key in ("interactions", "dlq", "items", "control", "drift")]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f'the topic name "{name}" is used twice in [topics]; give each topic its own name'
    for name, what in settings.decode.event_weights.items():
        if fold(name) == REMOVE and what != REMOVE:
            yield f'decode.event_weights.{name} must be "{REMOVE}", not {what}: such an event unlearns'
    if settings.serving.overlay_bytes_max < state.journal_bytes_max:
        yield (
            f"serving.overlay_bytes_max ({settings.serving.overlay_bytes_max:,}) must not be below "
            f"state.journal_bytes_max ({state.journal_bytes_max:,}): a scorer could not follow the learner"
        )
    if learning.min_value is not None and learning.feedback == "explicit":
        yield 'learning.min_value is for learning.feedback = "implicit"; leave it out for explicit ratings'


def _user_room(settings: Settings) -> Iterator[str]:
    state, learning = settings.state, settings.learning
    room = state.rows_max - state.items_max
    touched = state.history_max + 1 if learning.algorithm == "als" else 1
    needed = learning.batch_records * touched
    if room < needed:
        yield (
            f"state.rows_max - state.items_max leaves room for {room:,} users, but one micro-batch of "
            f"{learning.batch_records:,} records may need {needed:,}: raise state.rows_max or lower "
            "learning.batch_records_max"
        )


class _Assignment(NamedTuple):
    """One value on its way into the settings, and where it came from in words."""

    path: tuple[str, ...]
    value: object
    origin: str


def load(path: Path | None, environ: Mapping[str, str], overrides: Sequence[str] = ()) -> Settings:
    """Settings from a TOML file (if any), the environment and `section.key=value` flags, later ones winning.

    Raises ConfigError with one line for every mistake found.
    """
    problems: list[str] = []
    assignments = [
        *(_from_file(path, problems) if path is not None else ()),
        *_from_environment(environ, problems),
        *_from_overrides(overrides, problems),
    ]
    tree, origins = _merge(assignments)
    settings = _validate(tree, origins, problems)
    if settings is None:
        raise ConfigError("\n".join(problems))
    return settings


def _validate(
    tree: Mapping[str, object], origins: Mapping[tuple[str, ...], str], problems: list[str]
) -> Settings | None:
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        problems += [_plain_words(detail, origins) for detail in error.errors()]
        return None
    return None if problems else settings


def _merge(
    assignments: Iterable[_Assignment],
) -> tuple[dict[str, object], dict[tuple[str, ...], str]]:
    """The nested table that the assignments make, and the origin of each of its leaves."""
    tree: dict[str, object] = {section: dict(_default_of(section)) for section in PASS_THROUGH}
    origins: dict[tuple[str, ...], str] = {}
    for path, value, origin in assignments:
        table = tree
        for depth, name in enumerate(path[:-1]):
            child = table.get(name)
            if not isinstance(child, dict):
                default = _default_of(*path[: depth + 1])
                child = table[name] = dict(default) if isinstance(default, dict) else {}
            table = child
        table[path[-1]] = value
        origins[path] = origin
    return tree, origins


def _default_of(*path: str) -> dict[str, object]:
    """Entries that a table has before anything is set in it: those of tables with free keys."""
    value: object = Settings.model_construct()
    for name in path:
        value = value.get(name) if isinstance(value, dict) else getattr(value, name)
    return dict(value) if isinstance(value, dict) else {}


def _from_file(path: Path, problems: list[str]) -> Iterator[_Assignment]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such settings file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the settings file cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    for section, table in tables.items():
        if section not in Settings.model_fields:
            problems.append(
                f"{path}: [{section}] is not a known section; {_nearest(section, Settings.model_fields)}"
            )
        elif not isinstance(table, dict):
            problems.append(f"{path}: {section} must be a table: write [{section}] above its keys")
        else:
            yield from _from_table(path, section, table, problems)


def _from_table(
    path: Path, section: str, table: dict[str, object], problems: list[str]
) -> Iterator[_Assignment]:
    for key, value in _flat(table) if section in PASS_THROUGH else table.items():
        if _known_key(section, key):
            yield _Assignment((section, key), value, f"{path}: [{section}] {key}")
        else:
            problems.append(
                f"{path}: [{section}] {key} is not a known setting; {_nearest(key, _fields(section))}"
            )


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted keys of nested tables: unquoted `bootstrap.servers = ...` means what it says."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[_Assignment]:
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or name.startswith(ENVIRONMENT_RESERVED):
            continue
        if name == ENVIRONMENT_CONFIG:
            continue
        section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        key = key.replace("_", ".") if section == "kafka" else key
        if section in Settings.model_fields and key and _known_key(section, key):
            yield _assignment((section, key), environ[name], f"environment variable {name}", problems)
        else:
            problems.append(
                f"environment variable {name} is not known; {_nearest(name, environment_names())}"
            )


def _from_overrides(overrides: Sequence[str], problems: list[str]) -> Iterator[_Assignment]:
    for text in overrides:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        origin = f"--set {name}={MASK}" if equals and SECRET.search(name) else f"--set {text}"
        if not equals or not dot or not key:
            problems.append(f"{origin}: write it as --set section.key=value")
        elif section not in Settings.model_fields:
            problems.append(
                f"{origin}: {section} is not a known section; {_nearest(section, Settings.model_fields)}"
            )
        elif (path := _override_path(section, key)) is None:
            problems.append(f"{origin}: {name} is not a known setting; {_nearest(key, _fields(section))}")
        else:
            yield _assignment(path, value.strip(), origin, problems)


def _override_path(section: str, key: str) -> tuple[str, ...] | None:
    """Where `section.key` leads; a table such as `decode.event_weights` takes one entry more."""
    if _known_key(section, key):
        return (section, key)
    table, dot, entry = key.partition(".")
    if dot and entry and _is_table(section, table):
        inner = entry.split(".") if is_section(_entry_of_key(section, table)) else [entry]
        return (section, table, *inner)
    return None


def _assignment(path: tuple[str, ...], text: str, origin: str, problems: list[str]) -> _Assignment:
    """A value that came as text: a table is read as TOML, "none" empties, the model reads the rest."""
    if len(path) == 2 and path[0] not in PASS_THROUGH and _is_table(*path):
        try:
            return _Assignment(path, tomllib.loads(f"value = {text}")["value"], origin)
        except tomllib.TOMLDecodeError:
            problems.append(f"{origin}: must be a TOML inline table such as {{ click = 1.0 }}, not '{text}'")
            return _Assignment(path, {}, origin)
    if path[0] in PASS_THROUGH:
        return _Assignment(path, _scalar(text) if path[0] == "rocksdb" else text, origin)
    return _Assignment(path, None if text.lower() in ("", "none") else text, origin)


def _scalar(text: str) -> object:
    """A number or truth value where the text is one; RocksDB options are typed, librdkafka's are text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _fields(section: str) -> list[str]:
    model = Settings.model_fields[section].annotation
    return list(model.model_fields) if is_section(model) else []


def _known_key(section: str, key: str) -> bool:
    return section in PASS_THROUGH or key in _fields(section)


def _is_table(section: str, key: str) -> bool:
    return _entry_of_key(section, key) is not None


def _entry_of_key(section: str, key: str) -> object:
    """The type of the entries of `[section] key`; None if that holds no table."""
    model = Settings.model_fields[section].annotation
    if not is_section(model) or key not in model.model_fields:
        return None
    return entry_of(model.model_fields[key].annotation)


def is_section(annotation: object) -> TypeGuard[type[BaseModel]]:
    """Whether a type is that of a table of settings."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def entry_of(annotation: object) -> object:
    """The type of the entries of a table with free keys; None if this is none."""
    return get_args(annotation)[1] if get_origin(annotation) is dict else None


def environment_names() -> list[str]:
    """Every environment variable that sets a key, pass-through tables represented by their usual one."""
    names = [ENVIRONMENT_CONFIG, f"{ENVIRONMENT_PREFIX}KAFKA_BOOTSTRAP_SERVERS"]
    return names + [
        f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()
        for section in Settings.model_fields
        for key in _fields(section)
    ]


def _nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the nearest known name, or all of them when none is near."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(known)}" if len(known) <= 40 else "see docs/configuration.md"


def _plain_words(detail: ErrorDetails, origins: Mapping[tuple[str, ...], str]) -> str:
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    message = message.partition(", unable to parse")[0].replace("a valid integer", "a whole number")
    location = tuple(str(part) for part in detail["loc"])
    if detail["type"] == "value_error":
        section = f"[{'.'.join(location)}] " if location else ""
        return f"{section}{message}"
    origin = _origin(location, origins)
    shown = MASK if SECRET.search(".".join(location)) else repr(detail["input"])
    return f"{origin}: {message}, not {shown}"


def _origin(location: tuple[str, ...], origins: Mapping[tuple[str, ...], str]) -> str:
    """Where the value at a location came from; inner locations belong to the nearest outer one."""
    for length in range(len(location), 0, -1):
        if location[:length] in origins:
            return origins[location[:length]]
    return ".".join(location)


def to_plain(settings: Settings) -> dict[str, dict[str, object]]:
    """Settings as nested plain values, ready for JSON or TOML."""
    return settings.model_dump(mode="json")


def differing(settings: Settings) -> dict[str, dict[str, object]]:
    """Settings other than the defaults, as nested plain values; sections without any are left out."""
    defaults = to_plain(Settings())
    nothing = object()
    tables = {
        section: {key: value for key, value in table.items() if defaults[section].get(key, nothing) != value}
        for section, table in to_plain(settings).items()
    }
    return {section: table for section, table in tables.items() if table}


def to_toml(settings: Settings) -> str:
    """Settings as a TOML file that `load` reads back to the same value; unset optional keys are left out."""
    return tables_to_toml(to_plain(settings))


def tables_to_toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Nested plain values as a TOML file; keys that are None are left out."""
    return tomli_w.dumps(
        {
            section: {key: value for key, value in table.items() if value is not None}
            for section, table in tables.items()
        }
    )
