"""Judges a row of statistics with Great Expectations. This is the only file that knows it.

Great Expectations reports a crashed expectation as a failed one, and lets NULL pass a range: here a crash is an error of its own, and
every statistic that a rule names must also be there.
"""

import logging
from typing import Any

from tasks.gates.rules import ResolvedRule

log = logging.getLogger(__name__)


def judge(stage: str, statistics: dict[str, Any], rules: list[ResolvedRule]) -> list[dict[str, Any]]:
    """Judge one row of statistics.

    Args:
        stage: Name of the stage, for messages.
        statistics: Scalars by name.
        rules: What to demand.

    Returns:
        One record per rule: code, severity, column, low, high, why, observed, said (what the rule quotes), and outcome: passed, failed
        or error (with `detail`).
    """
    quiet = logging.getLogger("great_expectations")
    quiet.setLevel(logging.ERROR)
    import great_expectations as gx
    import pandas as pd
    from great_expectations import expectations as gxe
    from great_expectations.data_context.types.base import ProgressBarsConfig

    quiet.setLevel(logging.ERROR)  # its import sets it back
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    suite = gx.ExpectationSuite(name=stage)
    for rule in rules:
        about: dict[str, Any] = {"meta": {"code": rule.code}, "severity": rule.severity}
        suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=rule.column, **about))
        suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column=rule.column, min_value=rule.low, max_value=rule.high, **about))
    asset = context.data_sources.add_pandas("statistics").add_dataframe_asset(stage)
    row = pd.DataFrame([statistics])
    batch = asset.add_batch_definition_whole_dataframe("row").get_batch({"dataframe": row})
    validation = batch.validate(suite)

    outcomes: dict[str, list[tuple[str, str]]] = {rule.code: [] for rule in rules}
    for result in validation.results:
        configuration = result.expectation_config
        if configuration is not None:
            outcomes[configuration.meta["code"]].append(_outcome(result))
    return [_record(rule, statistics, outcomes[rule.code]) for rule in rules]


def _outcome(result: Any) -> tuple[str, str]:
    crash = _crash(result.exception_info)
    if crash:
        return "error", crash
    return ("passed" if result.success else "failed"), ""


def _crash(info: Any) -> str:
    """The message of a crashed expectation; it comes flat, or keyed by the metric that crashed."""
    if not isinstance(info, dict):
        return ""
    for entry in (info, *(value for value in info.values() if isinstance(value, dict))):
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "the expectation crashed")
    return ""


def _record(rule: ResolvedRule, statistics: dict[str, Any], outcomes: list[tuple[str, str]]) -> dict[str, Any]:
    kinds = [kind for kind, _ in outcomes]
    # An expectation that was not evaluated at all is as bad as one that crashed.
    worst = "error" if "error" in kinds or len(kinds) != 2 else "failed" if "failed" in kinds else "passed"
    return {
        "code": rule.code,
        "severity": rule.severity,
        "column": rule.column,
        "low": rule.low,
        "high": rule.high,
        "why": rule.why,
        "observed": statistics.get(rule.column),
        "said": str(statistics.get(rule.says) or ""),
        "outcome": worst,
        "detail": next((detail for kind, detail in outcomes if kind == "error"), ""),
    }
