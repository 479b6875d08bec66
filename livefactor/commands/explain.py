"""`livefactor explain-factors`: what the dimensions of the item factors stand for."""

from dataclasses import asdict
from typing import Annotated

import typer

from livefactor.commands.state import reader_of
from livefactor.console import note, print_json, print_table
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of


def explain_factors(
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="Items for each dimension.")] = 5,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """List the items that have most of each dimension, the weightiest dimension first.

    Reads the store as it stands; a running learner is not disturbed. Dimensions can be read one by one if
    they were learnt with learning.nonneg = true.
    """
    from livefactor.factors import explain, read_items

    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        facts = reader.identity()
        item_ids, vectors = read_items(reader, int(facts["rank"]), int(facts["history_max"]))
    dimensions = explain(item_ids, vectors, top)
    nonnegative = bool((vectors >= 0).all())
    if as_json:
        print_json(
            {
                "items": len(item_ids),
                "nonnegative": nonnegative,
                "dimensions": [asdict(dimension) for dimension in dimensions],
            }
        )
        return
    if not nonnegative:
        note(
            "some components are negative, so a dimension alone says little: "
            "dimensions that can be read are learnt with learning.nonneg = true"
        )
    rows = [
        (
            each.dimension,
            each.share,
            ", ".join(f"{item.item_id} ({item.component:.2f})" for item in each.items),
        )
        for each in dimensions
    ]
    print_table(("dimension", "share", "items"), rows)
