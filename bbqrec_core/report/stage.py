"""The stage `report`: artifacts in, one self-contained HTML page out."""

import logging

from bbqrec_core.report.checks import external_references
from bbqrec_core.report.page import build_page
from bbqrec_core.report.plots import write_plots
from bbqrec_core.stage import StageContext, Statistics

REPORT = "report.html"
PLOTS = "plots"
"""Folder of the main charts as PNG files, which MLflow shows."""

log = logging.getLogger(__name__)


def run(context: StageContext) -> Statistics:
    """Write `report.html` and the plots.

    Raises:
        ArtifactError: A table that the report cannot do without is not there.
        StageError: The metrics lack the project's own model.
    """
    statistics = write_page(context)
    plots = write_plots(context.inputs, context.out / PLOTS)
    return {**statistics, "plots": len(plots)}


def write_page(context: StageContext) -> Statistics:
    """Write `report.html` alone; see `run`."""
    page = build_page(context.profile, context.inputs)
    written = page.html.encode("utf-8")
    (context.out / REPORT).write_bytes(written)
    outside = external_references(page.html)
    for reference in outside:
        log.error("The report would load something from elsewhere: %s", reference)
    return {
        "bytes": len(written),
        "sections": page.sections,
        "example_users": page.example_users,
        "pictures": page.pictures,
        "pictures_left_out": page.pictures_left_out,
        "external_references": len(outside),
    }
