"""What the gates said of every stage's statistics, and those statistics themselves."""

from dataclasses import dataclass

from bbqrec_core.report.naming import quantity, readable
from bbqrec_core.report.reading import Inputs
from bbqrec_core.report.tables import Table


@dataclass(frozen=True)
class GateSection:
    """What the section on gates shows."""

    summary: str
    failed: Table | None
    all_rules: Table


def build_gates(inputs: Inputs) -> GateSection | None:
    """Prepare the section on gates; None where no gate's result is given."""
    gates = inputs.gates()
    if not gates:
        return None
    records = [(stage, record) for stage, found in gates.items() for record in found]
    failed = [(stage, record) for stage, record in records if record.get("outcome") != "passed"]
    passed = len(records) - len(failed)
    summary = f"{passed} of {len(records)} rules passed."
    if failed:
        others = "The other is a warning: it does" if len(failed) == 1 else "The others are warnings: they do"
        summary += f" {others} not stop the pipeline, but whoever reads these numbers should know."
    head = ["Rule", "Stage", "Severity", "Statistic", "Observed", "Demanded", "Outcome"]
    rows = [
        [
            str(record.get("code", "")),
            stage,
            str(record.get("severity", "")),
            readable(str(record.get("column", ""))),
            quantity(record.get("observed"), str(record.get("column", ""))),
            _demand(record.get("low"), record.get("high"), str(record.get("column", ""))),
            str(record.get("outcome", "")),
        ]
        for stage, record in records
    ]
    words = frozenset({1, 2, 3, 6})
    warnings = [
        [*row[:1], *row[3:6], str(record.get("why", ""))]
        for row, (_, record) in zip(rows, records, strict=True)
        if record.get("outcome") != "passed"
    ]
    not_passed = Table(
        "Rules that did not pass", ["Rule", "Statistic", "Observed", "Demanded", "Why it matters"], warnings, frozenset({1, 4})
    )
    return GateSection(summary, not_passed if warnings else None, Table("All rules", head, rows, words))


def _demand(low: float | None, high: float | None, column: str) -> str:
    if low is not None and high is not None:
        return quantity(low, column) if low == high else f"{quantity(low, column)} to {quantity(high, column)}"
    return f"at least {quantity(low, column)}" if low is not None else f"at most {quantity(high, column)}"


def all_statistics(inputs: Inputs) -> list[Table]:
    """Every statistic of every stage, as the gates saw them."""
    tables = []
    for stage in inputs.folders:
        statistics = inputs.statistics(stage)
        if statistics and not stage.startswith("gate"):
            rows = [[readable(name), quantity(value, name)] for name, value in statistics.items()]
            tables.append(Table(stage, ["Statistic", "Value"], rows))
    return tables
