"""Adds up what became of every line, as one row of statistics. Each number comes from a table of its own, so that the sum can fail."""

from collections import Counter

from bbqrec_core.ingest.config import IngestConfig
from bbqrec_core.ingest.database import Database
from bbqrec_core.ingest.intake import Books, Content, Intake, reasons
from bbqrec_core.ingest.kcore import Round
from bbqrec_core.stage import Statistics

HEADLINE = (
    "interactions",
    "users",
    "items",
    "density",
    "lines_read",
    "lines_rejected",
    "reject_share",
    "duplicates",
    "filtered",
    "accounting_difference",
    "sequence_min",
    "sequence_median",
    "sequence_p90",
    "sequence_max",
    "first_timestamp",
    "last_timestamp",
    "days",
    "tied_target_share",
    "train_rows",
    "train_interactions",
    "valid_rows",
    "test_rows",
    "cold_test",
    "kcore_rounds",
    "kcore_kept_share",
    "misplaced_interactions",
    "title_share",
    "text_share",
    "image_share",
    "price_share",
    "null_user_id",
    "null_item_id",
    "null_rating",
    "null_timestamp",
    "metadata_lines_read",
    "metadata_rejected",
    "files_read",
    "files_damaged",
    "partial",
)
"""What comes first where a page has room for so many, as MLflow's has."""


def rated_below(database: Database, config: IngestConfig) -> int:
    """How many interactions were rated below what the profile wants, or not at all, where it wants anything; of `read_interactions`."""
    if config.min_rating is None:
        return 0
    [(below,)] = database.rows(
        "SELECT count(*) FROM read_interactions WHERE NOT coalesce(rating >= CAST($least AS FLOAT), false)",
        least=config.min_rating,
    )
    return below


def account(database: Database, books: Books, rounds: list[Round], kept: int, below: int, deduplicated: bool) -> Statistics:
    """Count lines, interactions, items and everything that fell away.

    Args:
        database: After all tables were made.
        books: Of what was read.
        rounds: Of the k-core.
        kept: Interactions that were written as read.
        below: How many of them were rated too low.
        deduplicated: Whether a user has an item but once.

    Returns:
        For interactions `lines_read` = `interactions` + `duplicates` + `filtered` + `lines_rejected` + `accounting_difference`, for
        items `metadata_lines_read` = `metadata_items` + `metadata_duplicates` + `metadata_rejected` + `metadata_accounting_difference`,
        and what sql/statistics_*.sql say. A file's "lines" are what `schema.FILES` counts as such.
    """
    of_interactions = database.row("statistics_interactions", deduplicated=deduplicated)
    of_items, of_metadata = database.row("statistics_items"), database.row("statistics_metadata")
    reviews, metadata = books.of("interactions"), books.of("items")
    lines, metadata_lines = _lines(reviews), _lines(metadata)
    rejected, metadata_rejected = _rejected(database, "interactions"), _rejected(database, "items")
    candidates, left = rounds[0].interactions, rounds[-1].interactions
    duplicates = kept - below - candidates
    filtered = below + candidates - left
    damages = [intake.damage for intake in books.intakes if intake.damage]
    row = {
        "dialect": _formats(reviews),
        "metadata_dialect": _formats(metadata),
        "files_read": len(books.intakes),
        "files_damaged": len(damages),
        "partial": bool(damages),
        "damage": "; ".join(damages) or None,
        "lines_read": lines,
        "lines_kept": kept,
        "lines_rejected": rejected,
        "reject_share": _share(rejected, lines),
        "reject_reasons": _reasons(reviews),
        "duplicates": duplicates,
        "duplicate_share": _share(duplicates, kept),
        "filtered": filtered,
        "kcore_kept_share": _share(left, candidates),
        "kcore_rounds": len(rounds) - 1,
        "accounting_difference": lines - of_interactions["interactions"] - duplicates - filtered - rejected,
        **of_interactions,
        **of_items,
        **database.row("statistics_cleaning"),
        "unknown_item_share": _share(of_items["items_without_metadata"], of_interactions["items"]) if metadata else 0.0,
        "filtered_by_rating": below,
        "filtered_by_kcore": candidates - left,
        "variants_folded": sum(intake.folded for intake in reviews),
        "metadata_lines_read": metadata_lines,
        "metadata_rejected": metadata_rejected,
        "metadata_reject_share": _share(metadata_rejected, metadata_lines),
        "metadata_reject_reasons": _reasons(metadata),
        **of_metadata,
        "metadata_accounting_difference": metadata_lines
        - of_metadata["metadata_items"]
        - of_metadata["metadata_duplicates"]
        - metadata_rejected,
    }
    return {name: row[name] for name in (*HEADLINE, *row)}


def _lines(intakes: list[Intake]) -> int:
    return sum(intake.lines for intake in intakes)


def _rejected(database: Database, content: Content) -> int:
    [(count,)] = database.rows(
        "SELECT count(*) FROM rejects JOIN files USING (number) WHERE content = $content AND rejects.line IS NOT NULL", content=content
    )
    return count


def _reasons(intakes: list[Intake]) -> str | None:
    return reasons(sum((intake.rejected for intake in intakes), start=Counter())) or None


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _formats(intakes: list[Intake]) -> str | None:
    return "; ".join(dict.fromkeys(intake.format for intake in intakes if intake.format)) or None
