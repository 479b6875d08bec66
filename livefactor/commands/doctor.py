"""`livefactor doctor`: what keeps Livefactor from working here."""

from dataclasses import asdict

import typer

from livefactor.console import print_json, print_table
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of
from state.errors import ConfigError


def doctor(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Look at settings, broker, topics, store, disk, kernel cache and scorer, and say what to do.

    Each finding is ok, warn or fail; exit code 1 if one is fail. Changes nothing.
    """
    from livefactor.diagnosis import Finding, diagnose

    try:
        findings = list(diagnose(settings_of(config, overrides)))
    except ConfigError as error:
        findings = [Finding("settings", "fail", line) for line in str(error).splitlines()]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [(finding.status, finding.subject, finding.message) for finding in findings]
        print_table(("status", "subject", "finding"), rows)
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)
