"""The readable end of a run."""

import shlex
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from cli.console import out
from cli.overrides import as_options
from tasks.summary import Summary


def print_summary(summary: Summary, seconds: float, pages: str, overrides: Sequence[str] = ()) -> None:
    """Print stages, metrics, where things are, and what to try next.

    Args:
        summary: Of the run.
        seconds: It took.
        pages: Addresses that `make up` serves.
        overrides: What it was given by `--set`.
    """
    out.print()
    out.print(_stages(summary))
    if summary.models:
        out.print(_models(summary))
        if summary.about_models:
            out.print(summary.about_models, style="dim")
    if summary.note:
        out.print(f"About this data: {summary.note}", style="yellow", soft_wrap=True)
    for encoder in summary.encoders:
        if "demo encoder" in encoder:
            out.print(f"Pictures are embedded by a {encoder.partition(': ')[2]}: no gain from images is claimed.", style="yellow")
    cached = sum(line.cached for line in summary.stages)
    out.print(f"\nDone in {seconds:.0f} s: {len(summary.stages) - cached} stages made, {cached} cached.", style="bold")
    if summary.model_version is not None:
        out.print(f"  Model      {summary.model_uri}  ({summary.standing})", soft_wrap=True)
    if summary.report is not None:
        out.print(f"  Report     {summary.report}", soft_wrap=True)
    out.print(f"  MLflow and Prefect in the browser: make up, then {pages}")
    out.print("\nTry next:")
    for command, purpose in _suggestions(shlex.quote(summary.profile_argument), summary, shlex.join(as_options(overrides))):
        out.print(f"  .venv/bin/bbqrec {command:<45}  {purpose}", soft_wrap=True)


def _suggestions(profile: str, summary: Summary, options: str) -> list[tuple[str, str]]:
    again = f"{profile} {options}".rstrip()  # as the run had it
    if summary.report is None:
        last = summary.stages[-1].name
        made = f"{profile}/{last} {options}".rstrip()
        return [
            (f"inspect {made} --rows 3", f"what `{last}` made"),
            (f"run {again}", "the rest of the pipeline"),
        ]
    return [
        (f"recommend {again}", "recommendations for some of its users"),
        (f"run {again} --set sequence.learning_rate=0.002", "retrains, re-embeds nothing"),
        ("profiles", "what else can be run"),
    ]


def _stages(summary: Summary) -> Table:
    table = Table(title="Stages", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("gate")
    table.add_column("made")
    for line in summary.stages:
        gate = f"passed, {len(line.warnings)} warning(s)" if line.warnings else "passed"
        table.add_row(line.name, "cached" if line.cached else f"{line.seconds:.1f}", gate, line.headline)
    for line in summary.stages:
        for warning in line.warnings:
            table.add_row(line.name, "", Text("warning", "yellow"), Text(warning, "yellow"))
    return table


def _models(summary: Summary) -> Table:
    table = Table(
        title="\nTest, every item of the catalogue ranked, items the user has masked",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("model")
    for heading in ("NDCG@10", "95 % interval", "Recall@10", "unmasked: NDCG@10", "Recall@10"):
        table.add_column(heading, justify="right")
    for line in summary.models:
        table.add_row(
            line.name,
            f"{line.ndcg_at_10:.4f}",
            f"{line.ndcg_low:.4f}-{line.ndcg_high:.4f}",
            f"{line.recall_at_10:.4f}",
            f"{line.ndcg_at_10_unmasked:.4f}",
            f"{line.recall_at_10_unmasked:.4f}",
        )
    return table
