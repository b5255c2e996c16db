"""Puts the page together: what it shows, in which order, through which template."""

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bbqrec_core.data_note import data_note
from bbqrec_core.profile import Profile
from bbqrec_core.report.about_codes import build_codes
from bbqrec_core.report.about_data import build_data
from bbqrec_core.report.about_embeddings import build_embeddings, demo_modalities, demo_notice
from bbqrec_core.report.about_gates import all_statistics, build_gates
from bbqrec_core.report.about_results import build_results
from bbqrec_core.report.about_training import build_similarity, build_training
from bbqrec_core.report.examples import build_examples
from bbqrec_core.report.naming import count
from bbqrec_core.report.pictures import Pictures, picture_folder
from bbqrec_core.report.reading import Inputs
from bbqrec_core.report.tables import Table
from bbqrec_core.report.verdict import judge

log = logging.getLogger(__name__)

SYNTHETIC_NOTE = (
    "The data is a synthetic shop made by this project: it shows that the system works, not how good the method is on real shops."
)

ROOM = 500
"""Bytes for saying that pictures are left out."""


@dataclass(frozen=True)
class Page:
    """The finished report.

    Attributes:
        html: The whole page.
        sections: Headings it has.
        example_users: Users shown.
        pictures: Thumbnails in it.
        pictures_left_out: Thumbnails that would have made it too large.
    """

    html: str
    sections: int
    example_users: int
    pictures: int
    pictures_left_out: int


def build_page(profile: Profile, inputs: Mapping[str, Path]) -> Page:
    """Make the report of a run.

    Args:
        profile: The run's profile.
        inputs: Directories of artifacts by stage name.

    Raises:
        ArtifactError: A table that the report cannot do without is not there.
        StageError: The metrics lack the project's own model.
    """
    report = profile.report
    folder = picture_folder(profile.source, inputs.get("shop")) if report.thumbnails and report.example_users else None
    pictures = Pictures(folder, report.thumbnail_pixels, report.max_bytes)
    page = _render(profile, Inputs(inputs), pictures)
    excess = len(page.html.encode()) - report.max_bytes
    if excess > 0 and page.pictures:
        pictures = Pictures(folder, report.thumbnail_pixels, max(0, pictures.taken - excess - ROOM))
        page = _render(profile, Inputs(inputs), pictures)
        log.warning("%d pictures are left out of the report to keep it below %s bytes.", pictures.left_out, count(report.max_bytes))
    return page


def _render(profile: Profile, inputs: Inputs, pictures: Pictures) -> Page:
    metrics = inputs.required("evaluate", "metrics.parquet").to_pylist()
    comparisons = inputs.rows("evaluate", "comparisons.parquet") or []
    verdict = judge(metrics, comparisons)
    examples = build_examples(inputs, profile.report, verdict.ours, verdict.best, pictures)
    content: dict[str, Any] = {
        "results": build_results(metrics, comparisons),
        "examples": examples,
        "data": build_data(inputs),
        "gates": build_gates(inputs),
        "embeddings": build_embeddings(inputs),
        "codes": build_codes(inputs),
        "training": build_training(inputs, list(dict.fromkeys(row["model"] for row in metrics))),
        "similarity": build_similarity(inputs),
        "glossary": True,
        "provenance": _provenance(inputs),
    }
    shown = [(key, TITLES[key]) for key in TITLES if content[key]]
    html = (
        _templates()
        .get_template("page.html.j2")
        .render(
            profile=profile,
            verdict=verdict,
            demo_notice=demo_notice(demo_modalities(inputs)),
            source_note=data_note(_source_note(profile), inputs.statistics("ingest")),
            sections=shown,
            content=content,
            statistics=all_statistics(inputs),
            pictures=pictures,
        )
    )
    return Page(html, len(shown), len(examples), len(pictures.encoded), pictures.left_out)


def _source_note(profile: Profile) -> str:
    return profile.source.note or (SYNTHETIC_NOTE if profile.source.kind == "synthetic" else "")


@functools.cache
def _templates() -> Environment:
    """Templates, compiled once; everything put into them is escaped unless it is Markup."""
    loader = PackageLoader("bbqrec_core.report")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


TITLES = {
    "results": "Results",
    "examples": "Example users",
    "data": "Data",
    "gates": "Gates",
    "embeddings": "Embeddings",
    "codes": "Semantic IDs",
    "training": "Training",
    "similarity": "Similarity in attention",
    "glossary": "How to read this",
    "provenance": "Provenance",
}
"""Sections by key, in the page's order."""


def _provenance(inputs: Inputs) -> Table | None:
    """Fingerprints of the artifacts the report stands on. Nothing here depends on when or where they were made."""
    rows = []
    for stage in inputs.folders:
        manifest = inputs.read_json(stage, "manifest.json")
        if stage.startswith("gate") or not isinstance(manifest, dict):
            continue
        files = manifest.get("files") or {}
        size = sum(entry.get("bytes", 0) for entry in files.values())
        stands_on = manifest.get("inputs") or {}
        rows.append([stage, str(manifest.get("fingerprint", "–")), ", ".join(stands_on) or "–", count(len(files)), count(size)])
    if not rows:
        return None
    return Table("Artifacts this report was made from", ["Stage", "Fingerprint", "Stands on", "Files", "Bytes"], rows, frozenset({1, 2}))
