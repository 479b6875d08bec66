"""`livefactor recommend`, `score` and `explain`: questions to a running scorer."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livefactor.console import print_json, print_table
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of

if TYPE_CHECKING:
    from livefactor.client import Client, Meta

TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.001, metavar="S", help="Seconds to wait.")]


def recommend(
    user: Annotated[str, typer.Argument(help="User id; an unknown user gets what is popular.")],
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also offer what the user has interacted with.")
    ] = False,
    timeout_s: TimeoutOption = 5.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Ask the scorer for the best items for USER, best first."""
    with client_of(config, overrides) as client:
        answer = client.recommend(user, k, include_seen=include_seen, timeout_s=timeout_s)
    if as_json:
        print_json({"user_id": user, **asdict(answer)})
        return
    rows = [
        (i + 1, item, score)
        for i, (item, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True))
    ]
    print_table(("rank", "item_id", "score"), rows, title=_title(user, answer.cold, answer.meta))


def score(
    user: Annotated[str, typer.Argument(help="User id.")],
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Item ids.")],
    timeout_s: TimeoutOption = 5.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Ask the scorer how well each ITEM suits USER, in the order given."""
    with client_of(config, overrides) as client:
        answer = client.score(user, items, timeout_s=timeout_s)
    if as_json:
        print_json({"user_id": user, **asdict(answer)})
        return
    rows = list(zip(answer.item_ids, answer.scores, answer.known, strict=True))
    print_table(("item_id", "score", "known"), rows, title=_title(user, answer.cold, answer.meta))


def explain(
    user: Annotated[str, typer.Argument(help="User id.")],
    item: Annotated[str, typer.Argument(help="Item id.")],
    timeout_s: TimeoutOption = 5.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Ask the scorer why ITEM has its score for USER: the parts that add up to it."""
    with client_of(config, overrides) as client:
        answer = client.explain(user, item, timeout_s=timeout_s)
    if as_json:
        print_json({"user_id": user, "item_id": item, **asdict(answer)})
        return
    name = item if answer.known else f"{item}, never seen,"
    rows = [
        ("taste", answer.taste),
        ("recent items", answer.recent),
        *((f"because of {past}", value) for past, value in answer.because.items()),
        ("popularity", answer.popularity),
        ("had before", answer.had_before),
        ("score", answer.score),
    ]
    print_table(("part", "score"), rows, title=f"{name} for {_title(user, answer.cold, answer.meta)}")


def client_of(config: Path | None, overrides: list[str] | None) -> "Client":
    """A client of the scorer that the settings name."""
    from livefactor.client import Client

    return Client(settings_of(config, overrides).serving.listen)


def _title(user: str, cold: bool, meta: "Meta") -> str:
    kind = "unknown user: what is popular" if cold else "learnt"
    return f"{user} ({kind}), batch {meta.batch_seq:,}, {meta.staleness_ms:,} ms behind"
