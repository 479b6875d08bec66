"""`livefactor drill`: whether drift would be noticed."""

from typing import Annotated

import typer

from livefactor.commands.replay import progress_if_wanted
from livefactor.console import note, print_facts
from livefactor.options import (
    ColumnsOption,
    ConfigOption,
    FileArgument,
    JsonOption,
    LimitOption,
    ProgressOption,
    ReportOption,
    SampleOption,
    SetOption,
    TimeUnitOption,
    layout_of,
    settings_of,
)

NAMES = "permute-items|shuffle-labels|pump-item|rescale-values|rename-fields|gradual|none"


def drill(
    file: FileArgument,
    fault: Annotated[str, typer.Option("--fault", metavar=NAMES, help="What goes wrong.")],
    at: Annotated[
        float, typer.Option("--at", min=0.0, max=1.0, metavar="FRACTION", help="Where it begins.")
    ] = 0.5,
    until: Annotated[
        float | None,
        typer.Option(
            "--until",
            min=0.0,
            max=1.0,
            metavar="FRACTION",
            help="Where it ends; by default a tenth of the stream later, never for permute-items.",
        ),
    ] = None,
    sample: SampleOption = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of the fault.")] = 1,
    limit: LimitOption = None,
    columns: ColumnsOption = None,
    time_unit: TimeUnitOption = None,
    show_progress: ProgressOption = False,
    report_directory: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Plant a fault in FILE, and see whether and when the service notices.

    The real learner with its store, windows, tests and decisions runs on the stream, beside a twin that gets
    the stream as it is. Needs no Kafka and keeps nothing.
    """
    from livefactor.drill.faults import FAULTS
    from livefactor.drill.report import plots
    from livefactor.drill.run import Plan, facts, read_rows, run
    from livefactor.logs import configure_logs
    from livefactor.page.document import prepare, write

    configure_logs()
    if fault not in FAULTS:
        raise typer.BadParameter(f"there is no fault {fault!r}: {', '.join(FAULTS)}")
    if until is not None and until < at:
        raise typer.BadParameter(f"the fault ends at {until:g}, before it begins at {at:g}")
    every = [f"prequential.sample_every={sample}", f"prequential.work_max={10**9}"]
    settings = settings_of(config, [*(overrides or []), *every])
    if report_directory:
        prepare(report_directory)
    rows = read_rows(file, layout_of(file, columns, time_unit), limit)
    plan = Plan(fault, at, until, seed)
    with progress_if_wanted(f"drill on {file.name}", len(rows), show_progress) as advance:
        disturbed, twin = run(rows, settings, plan, advance)
    found = facts(plan, disturbed, twin)
    print_facts(found, as_json)
    if report_directory:
        drawn = plots(file.name, plan, disturbed, twin)
        note(f"report: {write(report_directory, 'drill', found, drawn)}")
