"""Run the benchmarks and compare each figure with what it must reach and what it aims at.

    python tests/bench/run.py [NAME ...]     # all bench_*.py, or those whose names contain a NAME

Each script prints, as the last line of its standard output, a JSON list of
`{"figure": str, "ratio": float, "must": float, "aim": float, "detail": ...}`. An aim below its must
means that less is better. Results also go to `.cache/bench/<script>.json` and `.cache/bench/all.json`.
Exit code 1 when a script fails or a figure misses its must.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / ".cache" / "bench"
TIMEOUT_S = 1_800.0


class BenchmarkError(Exception):
    """A script failed, took too long or printed no result."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured ratio; `detail` is whatever the script says about how it came about."""

    figure: str
    ratio: float
    must: float
    aim: float
    detail: object = None

    def reaches(self, target: float) -> bool:
        """Whether the ratio is at least as good as a target."""
        return self.ratio <= target if self.aim < self.must else self.ratio >= target

    @property
    def verdict(self) -> str:
        """How the ratio stands to its two targets."""
        if self.reaches(self.aim):
            return "reaches its aim"
        return "reaches its must" if self.reaches(self.must) else "MISSES"


def scripts(names: Sequence[str]) -> list[Path]:
    """The benchmarks whose names contain one of `names`; all of them without any."""
    found = sorted(HERE.glob("bench_*.py"))
    return [path for path in found if not names or any(name in path.stem for name in names)]


def measure(script: Path) -> list[Figure]:
    """Run one script; what it writes to standard error is shown as it comes.

    Raises BenchmarkError.
    """
    try:
        done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
        return [Figure(**each) for each in json.loads(done.stdout.splitlines()[-1])]
    except subprocess.SubprocessError as error:
        raise BenchmarkError(str(error)) from error
    except (IndexError, TypeError, ValueError) as error:
        raise BenchmarkError(f"the last line of its output is not a list of figures: {error}") from error


def save(name: str, figures: Sequence[Figure]) -> None:
    """Write figures to `.cache/bench/<name>.json`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")


def table(figures: Sequence[Figure]) -> Table:
    """Figures as a person reads them."""
    result = Table("figure", title="Benchmarks")
    for column in ("measured", "must", "aim"):
        result.add_column(column, justify="right")
    result.add_column("")
    for each in figures:
        style = "red" if not each.reaches(each.must) else None
        numbers = (f"{number:.3g}" for number in (each.ratio, each.must, each.aim))
        result.add_row(each.figure, *numbers, each.verdict, style=style)
    return result


def main(names: Sequence[str]) -> int:
    """Run, print, save; the exit code."""
    console = Console()
    chosen = scripts(names)
    if not chosen:
        console.print(f"no benchmark matches {' '.join(names)}")
        return 1
    figures: list[Figure] = []
    failed = False
    for script in chosen:
        console.print(f"{script.stem} ...")
        try:
            measured = measure(script)
        except BenchmarkError as error:
            console.print(f"{script.stem}: {error}", style="red")
            failed = True
            continue
        save(script.stem, measured)
        figures += measured
    save("all", figures)
    console.print(table(figures))
    return int(failed or not all(each.reaches(each.must) for each in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
