"""The trained model as files: `model.json` says what it is, `model.safetensors` holds all numbers, and nothing else is needed to use it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bbqrec_core import schema
from bbqrec_core.errors import ArtifactError
from bbqrec_core.sequence.catalogue import Catalogue, codes_digest
from bbqrec_core.sequence.config import SequenceConfig
from bbqrec_core.sequence.content import ContentSimilarity
from bbqrec_core.sequence.mixture import Mixture
from bbqrec_core.sequence.model import SequenceModel
from bbqrec_core.sequence.prior import BehaviourPrior
from bbqrec_core.sequence.similarity import SimilaritySpec

FORMAT = 3
WEIGHTS, MEANING = "model.safetensors", "model.json"
PARAMETER, CODES, PRESENT, UNITS, EDGES, WARM = "parameter.", "codes.", "present.", "units.", "edges.", "warm"
PRIOR_TENSOR, CONTENT_VECTORS = "prior.", "content.vectors"
AGAIN = "Run the stage `train` again on this catalogue."


@dataclass(frozen=True)
class TrainedModel:
    """A model with what it needs to recommend.

    Attributes:
        model: In evaluation mode, on the CPU.
        mixture: What the heads, the prior and content similarity weigh in the final score.
        prior: The behaviour prior; None = there is none.
        content: Content similarity; None = it has no say.
        meaning: All of `model.json`.
    """

    model: SequenceModel
    mixture: Mixture
    prior: BehaviourPrior | None
    content: ContentSimilarity | None
    meaning: dict[str, Any]


def save_model(
    folder: Path,
    model: SequenceModel,
    catalogue: Catalogue,
    similarity: SimilaritySpec | None,
    mixture: Mixture,
    prior: BehaviourPrior | None,
    content: ContentSimilarity | None,
    seed: int,
) -> None:
    """Write `model.safetensors` and `model.json` into a folder; the same model gives the same bytes."""
    tensors = {PARAMETER + name: tensor for name, tensor in model.state_dict().items() if "buckets." not in name}
    for source in catalogue.sources:
        tensors[CODES + source] = catalogue.codes[source].to(torch.int32)
        tensors[PRESENT + source] = catalogue.present[source]
    tensors[WARM] = catalogue.warm
    if similarity is not None:
        for source in similarity.sources:
            if similarity.kind == "quantile":
                tensors[UNITS + source] = catalogue.vectors[source]
                tensors[EDGES + source] = similarity.edges[source]
    if prior is not None:
        tensors |= {PRIOR_TENSOR + name: tensor for name, tensor in prior.tensors().items()}
    if content is not None:
        tensors[CONTENT_VECTORS] = content.vectors.values
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, folder / WEIGHTS)
    meaning = {
        "format": FORMAT,
        "model": "BBQRec",
        "n_items": catalogue.n_items,
        "sources": list(catalogue.sources),
        "code_counts": {source: catalogue.code_counts(source) for source in catalogue.sources},
        "codes_sha256": catalogue.digest(),
        "similarity": None if similarity is None else {"kind": similarity.kind, "sources": list(similarity.sources)},
        "mixture": mixture.describe(),
        "prior": None if prior is None else prior.describe(),
        "content": None if content is None else content.describe(),
        "seed": seed,
        "config": model.config.fingerprint_fields(),
    }
    (folder / MEANING).write_text(json.dumps(meaning, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_model(folder: Path, expected_codes: str | None = None, expected_items: int | None = None) -> TrainedModel:
    """Read a trained model, on the CPU.

    Args:
        folder: Holds `model.json` and `model.safetensors`.
        expected_codes: `Catalogue.digest()` of the catalogue it is to be used on; not looked at when None.
        expected_items: Size of that catalogue; not looked at when None.

    Raises:
        ArtifactError: The files are missing or damaged, do not belong together, or are of another catalogue.
    """
    meaning = _read_meaning(folder)
    if expected_items is not None and meaning["n_items"] != expected_items:
        raise ArtifactError(f"The model in {folder} is of {meaning['n_items']} items, this catalogue has {expected_items}.", AGAIN)
    if expected_codes is not None and meaning["codes_sha256"] != expected_codes:
        raise ArtifactError(f"The model in {folder} was trained on other semantic IDs than those of this catalogue.", AGAIN)
    try:
        tensors = load_file(folder / WEIGHTS)
        codes = {source: tensors[CODES + source].long() for source in meaning["sources"]}
        present = {source: tensors[PRESENT + source] for source in meaning["sources"]}
        if codes_digest(codes, present) != meaning["codes_sha256"] or len(tensors[WARM]) != meaning["n_items"]:
            raise ArtifactError(f"{WEIGHTS} and {MEANING} in {folder} are of different catalogues.", AGAIN)
        vectors = {name.removeprefix(UNITS): tensor for name, tensor in tensors.items() if name.startswith(UNITS)}
        catalogue = Catalogue(codes, present, vectors, tensors[WARM])
        similarity = None
        if meaning["similarity"] is not None:
            kind, sources = meaning["similarity"]["kind"], tuple(meaning["similarity"]["sources"])
            similarity = SimilaritySpec(kind, sources, {s: tensors[EDGES + s] for s in sources} if kind == "quantile" else {})
        model = SequenceModel(SequenceConfig(**meaning["config"]), catalogue, similarity)
        parameters = {name.removeprefix(PARAMETER): tensor for name, tensor in tensors.items() if name.startswith(PARAMETER)}
        mixture, prior = Mixture.load(meaning["mixture"]), None
        if meaning["prior"] is not None:
            own = {name.removeprefix(PRIOR_TENSOR): tensor for name, tensor in tensors.items() if name.startswith(PRIOR_TENSOR)}
            prior = BehaviourPrior.load(meaning["prior"], own)
        content = None if meaning["content"] is None else ContentSimilarity.load(meaning["content"], tensors[CONTENT_VECTORS])
        missing, unexpected = model.load_state_dict(parameters, strict=False)
    except (OSError, SafetensorError, KeyError, ValidationError, RuntimeError, TypeError) as error:
        raise ArtifactError(f"The model in {folder} cannot be read: {type(error).__name__}: {error}", AGAIN) from error
    missing = [name for name in missing if "buckets." not in name]
    if missing or unexpected:
        raise ArtifactError(f"{WEIGHTS} in {folder} does not fit {MEANING}: missing {missing}, unknown {unexpected}.", AGAIN)
    if prior is not None and prior.knn.n_items != meaning["n_items"]:
        raise ArtifactError(f"The prior in {folder} is of {prior.knn.n_items} items, the model of {meaning['n_items']}.", AGAIN)
    if content is not None and content.n_items != meaning["n_items"]:
        raise ArtifactError(f"The content vectors in {folder} are of {content.n_items} items, the model of {meaning['n_items']}.", AGAIN)
    return TrainedModel(model.eval(), mixture, prior, content, meaning)


def _read_meaning(folder: Path) -> dict[str, Any]:
    path = folder / MEANING
    try:
        meaning = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}", AGAIN) from None
    if not isinstance(meaning, dict) or meaning.get("model") != "BBQRec" or meaning.get("format") != FORMAT:
        raise ArtifactError(f"{path} does not describe a BBQRec model of format {FORMAT}.", AGAIN)
    needed = {"n_items", "sources", "codes_sha256", "similarity", "mixture", "prior", "content", "config"}
    if not needed <= meaning.keys() or schema.FUSED not in meaning["sources"]:
        raise ArtifactError(f"{path} lacks {sorted(needed - meaning.keys()) or 'fused codes'}.", AGAIN)
    return meaning
