"""`livefactor demo`: see it work."""

from typing import Annotated

import typer

INTERRUPTED = 130


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running afterwards and print the addresses.")
    ] = False,
) -> None:
    """Watch 100,000 real events flow through Kafka, a learner and a scorer; needs nothing but this package.

    Shows throughput and accuracy as they grow, a new visitor whose recommendations change a moment after
    each click, and a learner killed in mid-stream that loses nothing. Ends by itself with exit code 0.
    """
    from rich.console import Console

    from livefactor.demo.run import run

    console = Console(highlight=False)
    try:
        run(console, keep)
    except KeyboardInterrupt:
        console.print("stopped; everything is cleaned up")
        raise typer.Exit(INTERRUPTED) from None
