"""The readable end of a run."""

from rich.table import Table

from cli.console import out
from tasks.summary import Summary


def print_summary(summary: Summary, seconds: float) -> None:
    """Print stages, metrics, where things are, and what to try next."""
    out.print()
    out.print(_stages(summary))
    out.print(_models(summary))
    if summary.note:
        out.print(f"About this data: {summary.note}", style="yellow")
    for encoder in summary.encoders:
        if "demo encoder" in encoder:
            out.print(f"Pictures are embedded by a {encoder.partition(': ')[2]}: no gain from images is claimed.", style="yellow")
    cached = sum(line.cached for line in summary.stages)
    out.print(f"\nDone in {seconds:.0f} s: {len(summary.stages) - cached} stages made, {cached} cached.", style="bold")
    out.print(f"  Model      models:/{summary.model_name}@{summary.model_alias}  (version {summary.model_version})")
    out.print(f"  Report     {summary.report}", soft_wrap=True)
    out.print("  MLflow and Prefect in the browser: make up, then http://127.0.0.1:5000 and http://127.0.0.1:4200")
    out.print("\nTry next:")
    out.print(f"  .venv/bin/bbqrec recommend {summary.profile}             recommendations for some of its users")
    out.print(f"  .venv/bin/bbqrec run {summary.profile} --set sequence.learning_rate=0.002   retrains, re-embeds nothing")
    out.print("  .venv/bin/bbqrec profiles                   what else can be run")


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
            table.add_row(line.name, "", "[yellow]warning[/]", f"[yellow]{warning}[/]")
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
