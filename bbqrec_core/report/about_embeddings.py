"""Which encoders made the features, and what must be said of them."""

from dataclasses import dataclass
from typing import Any

from bbqrec_core import schema
from bbqrec_core.embedding.codes import NAME as PUBLISHED_CODES
from bbqrec_core.report.naming import count, quantity, share, without_folder
from bbqrec_core.report.reading import Inputs
from bbqrec_core.report.tables import Table


@dataclass(frozen=True)
class EmbeddingSection:
    """What the section on embeddings shows."""

    encoders: Table | None
    demo: list[str]
    notes: list[str]


def demo_modalities(inputs: Inputs) -> list[str]:
    """Modalities that a demo encoder embedded, in order."""
    return [modality for modality, facts in _encoders(inputs).items() if facts.get("is_demo_encoder")]


def demo_notice(modalities: list[str]) -> str:
    """What must be said wherever a demo encoder was used; empty where none was."""
    sentences = []
    if schema.IMAGE in modalities:
        sentences.append("Pictures were embedded by a demo encoder trained on synthetic pictures; no gain from images is claimed.")
    if schema.TEXT in modalities:
        sentences.append("Titles were embedded by a demo encoder trained on synthetic titles; no gain from text is claimed.")
    return " ".join(sentences)


def build_embeddings(inputs: Inputs) -> EmbeddingSection | None:
    """Prepare the section on embeddings; None where the artifact does not say what made it."""
    encoders = _encoders(inputs)
    if not encoders:
        alone = inputs.read_json("embed", "encoders.json") == {}
        return EmbeddingSection(None, [], [_behaviour_alone(inputs)]) if alone else None
    n_items = len(inputs.required("ingest", "items.parquet", [schema.ITEM_IDX]))
    rows = []
    for modality, facts in encoders.items():
        masks = inputs.table("embed", f"{modality}_embedding.parquet", [f"has_{modality}"])
        present = None if masks is None else int(masks[f"has_{modality}"].to_numpy().sum())
        rows.append(
            [
                modality,
                _encoder_name(facts),
                quantity(facts.get("dimensions")),
                "–" if present is None else count(present),
                "–" if present is None else count(n_items - present),
                "–" if present is None or not n_items else share(present / n_items),
                str(facts.get("weights_sha256") or "–")[:12],
            ]
        )
    head = ["Modality", "Encoder", "Dimensions", "Items", "Masked", "Share", "Weights (SHA-256)"]
    codes = [modality for modality, facts in encoders.items() if facts.get("name") == PUBLISHED_CODES]
    return EmbeddingSection(
        Table("Encoders", head, rows, frozenset({1, 6})), demo_modalities(inputs), [_published_codes(codes)] if codes else []
    )


def _published_codes(modalities: list[str]) -> str:
    return (
        f"Of {' and '.join(modalities)} only published semantic IDs are known: no features stood behind them. Their vectors say no more "
        "than which codes items share, and what our codes keep of them is measured as accuracy, not as R²."
    )


def _behaviour_alone(inputs: Inputs) -> str:
    known = "There is no text, no picture and no published code: semantic IDs rest on the train part's behaviour alone."
    blank = inputs.statistics("quantize").get("repair_only_items")
    return f"{known} Items that have none there either: {count(blank)}; their IDs are only different from all others." if blank else known


def _encoder_name(facts: dict[str, Any]) -> str:
    name = without_folder(str(facts.get("name", "unknown")))
    return f"{name} (demo encoder)" if facts.get("is_demo_encoder") and "demo encoder" not in name else name


def _encoders(inputs: Inputs) -> dict[str, dict[str, Any]]:
    described = inputs.read_json("embed", "encoders.json") or {}
    return {modality: described[modality] for modality in schema.MODALITIES if isinstance(described.get(modality), dict)}
