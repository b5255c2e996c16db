"""The gates' rules, one table per stage: what a statistic must be, how bad it is when it is not, and why it matters.

A rule's bounds are constants, or names of fields of the profile's section `gates` (their thresholds). Statistics that a rule speaks of may
never be missing.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from bbqrec_core.gate_config import GatesConfig

SUITE_VERSION = 2
"""Raised when the way of judging changes, so that old results are judged anew; a changed rule does that by itself."""

Bound = float | str | None


@dataclass(frozen=True)
class Rule:
    """One demand on one statistic.

    Attributes:
        code: Stable name, such as ING-001, for searching logs and docs.
        severity: critical stops the pipeline, warning is reported.
        column: The statistic.
        low, high: Inclusive bounds: numbers, or names of thresholds in the profile's `gates`.
        why: One sentence for the one who reads the failure.
        says: A statistic, in words, that is quoted beside a failure.
    """

    code: str
    severity: Literal["critical", "warning"]
    column: str
    low: Bound
    high: Bound
    why: str
    says: str = ""


RULES: dict[str, tuple[Rule, ...]] = {
    "shop": (
        Rule("SHP-001", "critical", "reviews", 1, None, "A shop without reviews teaches nothing."),
        Rule("SHP-002", "critical", "users", 1, None, "A shop needs users."),
        Rule("SHP-003", "critical", "items", 1, None, "A shop needs items."),
    ),
    "ingest": (
        Rule("ING-001", "critical", "accounting_difference", 0, 0, "Every line read must be kept, a duplicate, filtered or rejected."),
        Rule("ING-002", "critical", "users", "min_users", None, "Too few users are left to learn from."),
        Rule("ING-003", "critical", "items", "min_items", None, "Too few items are left to rank."),
        Rule("ING-004", "critical", "interactions", "min_interactions", None, "Too few interactions are left to learn from."),
        Rule(
            "ING-005",
            "critical",
            "reject_share",
            0,
            "max_reject_share",
            "Many unusable lines mean a damaged or foreign file.",
            says="reject_reasons",
        ),
        Rule("ING-006", "critical", "text_share", "min_text_share", 1, "Items without text get their semantic ID from little."),
        Rule("ING-007", "warning", "image_share", "min_image_share", 1, "Fewer pictures than expected."),
        Rule(
            "ING-008",
            "warning",
            "tied_target_share",
            0,
            "max_tied_target_share",
            "Tied times make the test target a matter of chance.",
        ),
        Rule("ING-009", "critical", "train_rows", 1, None, "Nothing to train on."),
        Rule("ING-010", "critical", "test_rows", "min_users_evaluated", None, "Too few users to measure anything."),
        Rule("ING-025", "critical", "valid_rows", 1, None, "Nobody to choose settings and epochs by."),
        Rule("ING-011", "critical", "metadata_accounting_difference", 0, 0, "Every metadata line must be accounted for."),
        Rule("ING-012", "critical", "null_user_id", 0, 0, "An interaction without a user is none."),
        Rule("ING-013", "critical", "null_item_id", 0, 0, "An interaction without an item is none."),
        Rule("ING-014", "critical", "null_timestamp", 0, 0, "Without times there is no order."),
        Rule(
            "ING-015",
            "critical",
            "metadata_reject_share",
            0,
            "max_reject_share",
            "Many unusable lines of metadata mean a damaged or foreign file.",
            says="metadata_reject_reasons",
        ),
        Rule("ING-016", "warning", "files_damaged", 0, 0, "The data set is partial, and so is all that is said of it.", says="damage"),
        Rule("ING-017", "critical", "misplaced_interactions", 0, 0, "What comes after a target must not be trained on."),
        Rule("ING-018", "warning", "duplicate_share", 0, "max_duplicate_share", "So many repeated interactions may be a file read twice."),
        Rule("ING-019", "warning", "kcore_kept_share", "min_kcore_kept_share", 1, "The k-core is a small and busy part of the shop."),
        Rule("ING-020", "warning", "sequence_median", "min_sequence_median", None, "Short sequences leave little to learn an order from."),
        Rule("ING-021", "warning", "density", 0, 1, "More interactions than pairs of a user and an item."),
        Rule("ING-022", "warning", "days", "min_days", None, "The interactions lie close together in time."),
        Rule(
            "ING-023",
            "warning",
            "unknown_item_share",
            0,
            "max_unknown_item_share",
            "The metadata knows nearly none of the items: it may be another category's, or name items in another way.",
        ),
        Rule(
            "ING-024",
            "warning",
            "ends_before_1990",
            0,
            0,
            "No shop was online then: the times may be in another unit than the source says (source.tables.time_unit), or be no times.",
        ),
    ),
    "embed": (
        Rule("EMB-001", "critical", "nan_values", 0, 0, "An encoder that gives NaN is broken."),
        Rule("EMB-002", "critical", "zero_vectors", 0, 0, "An item that has a modality must have a vector that is not zero."),
        Rule("EMB-003", "warning", "text_share", "min_text_share", 1, "Fewer texts were embedded than expected."),
        Rule("EMB-004", "warning", "image_share", "min_image_share", 1, "Fewer pictures were embedded than expected."),
        Rule(
            "EMB-005",
            "warning",
            "images_unreadable",
            0,
            0,
            "Pictures that `ingest` could read could not be read any more, and their items go without: they changed, or the disk fails.",
        ),
    ),
    "quantize": (
        Rule(
            "QNT-001",
            "critical",
            "repaired_collision_share",
            0,
            "max_collision_share",
            "Items that share a semantic ID cannot be told apart, and repair did not part them.",
        ),
        Rule("QNT-002", "critical", "null_fused_codes", 0, 0, "Every item needs a semantic ID."),
        Rule(
            "QNT-003", "warning", "used_code_share", "min_used_code_share", 1, "Dead codes: the codebook is larger than what it describes."
        ),
        Rule("QNT-004", "warning", "largest_code_share", 0, "max_largest_code_share", "A collapsed first level says little of an item."),
        Rule("QNT-005", "critical", "nan_losses", 0, 0, "The training diverged."),
        Rule(
            "QNT-006",
            "warning",
            "published_collision_share",
            0,
            "max_collision_share",
            "Published codes collide as they came, and items that share one cannot be told apart; `quantization: {given: {repair: true}}` "
            "in the profile moves them apart.",
        ),
        Rule(
            "QNT-007",
            "warning",
            "collision_share_before_distinct_listings",
            0,
            "max_collision_share_before_repair",
            "Codes alone do not tell these items apart. Published ones are as they are; of learned ones, more levels or larger codebooks "
            "(`quantization.codebook_sizes`) and `quantization.siblings_apart` say more.",
        ),
    ),
    "prior": (Rule("PRI-001", "critical", "non_finite", 0, 0, "A prior that gives NaN is broken."),),
    "train": (
        Rule("TRN-001", "critical", "nan_parameters", 0, 0, "The training diverged."),
        Rule("TRN-002", "critical", "valid_ndcg_at_10", 0, 1, "The validation metric must be a number."),
        Rule("TRN-003", "critical", "epochs_run", 1, None, "Nothing was trained."),
    ),
    "refit": (
        Rule("RFT-001", "critical", "nan_parameters", 0, 0, "The training diverged."),
        Rule("RFT-002", "critical", "epochs_run", 1, None, "Nothing was trained."),
    ),
    "baselines": (Rule("BAS-001", "critical", "nan_values", 0, 0, "A baseline that gives NaN is broken."),),
    "evaluate": (
        Rule("EVA-001", "critical", "users_evaluated", "min_users_evaluated", None, "Too few users to trust a metric."),
        Rule("EVA-002", "critical", "ndcg_at_10", 0, 1, "The headline metric must be a number."),
        Rule("EVA-003", "warning", "ndcg_over_popularity", "min_ndcg_of_popularity", None, "The model does not beat popularity."),
        Rule(
            "EVA-004", "warning", "ndcg_over_best_baseline", "min_ndcg_of_best_baseline", None, "The model does not beat the best baseline."
        ),
        Rule("EVA-005", "critical", "null_metrics", 0, 0, "Every metric of every model must be a number."),
        Rule(
            "EVA-006",
            "warning",
            "registered_ndcg_over_ours",
            "min_ndcg_of_ours",
            None,
            "Learning from validation too made the registered model worse; `refit: {enabled: false}` in the profile registers the other.",
        ),
    ),
    "register": (
        Rule("REG-001", "critical", "recommendations_checked", 1, None, "The registered model must load by its alias and recommend."),
    ),
    "report": (Rule("REP-001", "critical", "external_references", 0, 0, "The report must open without a network."),),
}


@dataclass(frozen=True)
class ResolvedRule(Rule):
    """A rule whose bounds are numbers."""

    low: float | None
    high: float | None


def rules_for(stage: str, thresholds: GatesConfig) -> list[ResolvedRule]:
    """A stage's rules with the profile's thresholds put in."""

    def number(bound: Bound) -> float | None:
        return getattr(thresholds, bound) if isinstance(bound, str) else bound

    return [ResolvedRule(**{**asdict(rule), "low": number(rule.low), "high": number(rule.high)}) for rule in RULES[stage]]
