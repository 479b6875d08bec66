"""The demo's films: titles, categories, and the events that ship with the package."""

import csv
import gzip
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from livefactor.event_files import BadRow, read_events
from protos.events_pb2 import Interaction
from state.errors import PublishError

DATA = Path(str(files("livefactor.demo.data")))


@dataclass(frozen=True, slots=True)
class Film:
    """One item of the demo."""

    item_id: str
    title: str
    categories: tuple[str, ...]


def films() -> dict[str, Film]:
    """Every film by its id."""
    with gzip.open(DATA / "items.csv.gz", "rt", encoding="utf-8", newline="") as text:
        return {
            row["item_id"]: Film(row["item_id"], row["title"], tuple(row["categories"].split("|")))
            for row in csv.DictReader(text)
        }


def ratings() -> list[Interaction]:
    """The whole stream, in the order in which it happened."""
    rows = list(read_events(DATA / "events.csv.gz"))
    interactions = [row for row in rows if not isinstance(row, BadRow)]
    if len(interactions) != len(rows):
        raise PublishError(f"{DATA / 'events.csv.gz'} is damaged: install the package again")
    return interactions


def best_known(
    category: str, catalogue: dict[str, Film], seen: Iterable[Interaction], count: int
) -> Sequence[Film]:
    """The films of a category that were rated most often, most often first."""
    ratings_of = Counter(interaction.item_id for interaction in seen)
    known = (catalogue[item_id] for item_id, _ in ratings_of.most_common() if item_id in catalogue)
    return [film for film in known if category in film.categories][:count]
