"""`bbqrec doctor`: what is wrong with this installation, and the way out."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli.console import out

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor(
    thorough: Annotated[bool, typer.Option("--thorough", help="read every byte of every artifact again")] = False,
) -> None:
    """Check versions, disk, memory, GPU, state, profiles and servers. Exit code 1 if there is a problem."""
    from tasks.doctor.examination import examine

    findings = list(examine(thorough))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "what", "found"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.level, STYLES[finding.level]), finding.about, finding.found)
    out.print(table)
    if any(finding.way_out for finding in findings):
        out.print("\nThe way out", style="bold")
    for finding in findings:
        if finding.way_out:
            out.print(Text.assemble((finding.about, STYLES[finding.level]), "  ", finding.way_out), soft_wrap=True)
    problems, warnings = (sum(finding.level == level for finding in findings) for level in ("problem", "warning"))
    out.print(f"\n{problems} problem(s), {warnings} warning(s)", style="bold red" if problems else "bold")
    raise typer.Exit(1 if problems else 0)
