"""Published semantic IDs, taken from the ingest artifact as they are.

Nothing is learned and nothing can be: vectors are fixed random ones per node of the tree of prefixes, as in `embedding/codes.py`,

    q_i = v_i / ||v_i||,   v_i = sum_l N(c_1..c_l),   N seeded by modality and prefix,

so that two items are as similar as the prefix that they share is long. There are as many codes per level as the published codes of any
modality go up to; `codebook_sizes` plays no part. Published codes collide (5,988 text IDs for the 6,250 items of MQL4GRec's Instruments):
`given.repair` decides whether they stay so. Repair costs nothing for an item's own code and 1 for any other; an item whose prefix is full
goes to the prefix that differs as late as possible. An item without codes of the modality (`given.modality`) gets an ID of its own under a
first-level code that nobody published. New items cannot be coded: nothing is known of how the codes were made, nor whether those who made
them kept to the train part.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from bbqrec_core import schema
from bbqrec_core.embedding.codes import given_modalities, read_given_codes
from bbqrec_core.errors import StageError
from bbqrec_core.quantization.assign import EncodedCatalogue
from bbqrec_core.quantization.collisions import Codebooks
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.curve import Curve
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.model import Features, Masks
from bbqrec_core.quantization.tokenizers.interface import Baseline, Fitted, encoding, sources
from bbqrec_core.stage import Statistics

LARGEST_CODE = 2**15 - 1
"""Codes are stored as int16."""
MOST_IDS = 2**62
"""Repair numbers them with int64."""


class PrefixTree(Codebooks):
    """Codes without vectors; an item's start is its wished codes, each plus 1."""

    def last_costs(self, starts: np.ndarray, behaviour: np.ndarray, prefixes: np.ndarray) -> np.ndarray:
        """0 for the code that an item wishes under the prefix that it wishes, 1 for any other, float64 [n, K_L]."""
        wished = starts.astype(np.int64) - 1
        costs = np.ones((len(starts), self.sizes[-1]))
        own = np.flatnonzero((wished[:, :-1] == prefixes).all(1))
        costs[own, wished[own, -1]] = 0.0
        return costs

    def nearest_prefixes(self, start: np.ndarray) -> Iterator[np.ndarray]:
        """All prefixes, those with the longest common part first, int64 [L - 1]."""
        wished = (start.astype(np.int64) - 1)[:-1].tolist()
        yield np.array(wished, dtype=np.int64)
        for depth in reversed(range(len(wished))):
            others = [code for code in range(self.sizes[depth]) if code != wished[depth]]
            below = [range(size) for size in self.sizes[depth + 1 : -1]]
            for rest in itertools.product(others, *below):
                yield np.array([*wished[:depth], *rest], dtype=np.int64)


class GivenTokenizer(Baseline):
    """Published codes of a catalogue."""

    codes_new_items = False

    def __init__(self, config: QuantizationConfig, widths: Mapping[str, int], sizes: list[int], n_items: int) -> None:
        super().__init__(config, widths, sizes, n_items)
        self.repairs = config.given.repair
        self.register_buffer("wished", torch.zeros(n_items, len(sizes), dtype=torch.int16))
        for name in schema.MODALITIES:
            self.register_buffer(f"codes_{name}", torch.zeros(n_items, len(sizes), dtype=torch.int16))
            self.register_buffer(f"has_{name}", torch.zeros(n_items, dtype=torch.bool))

    def encode(self, features: Features, present: Masks, items: np.ndarray | None, n_items: int | None = None) -> EncodedCatalogue:
        """The codes of items of the catalogue; of others nothing is known (`codes_new_items`)."""
        assert items is not None
        wished = self.get_buffer("wished").numpy()[items].astype(np.int64)
        codes = {
            name: self.get_buffer(f"codes_{name}").numpy()[items].astype(np.int64)
            for name in schema.MODALITIES
            if self.get_buffer(f"has_{name}").any()
        }
        return encoding(wished, wished + 1.0, codes)

    def coded(self, present: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The items with published codes, whether or not they have features."""
        masks = {name: self.get_buffer(f"has_{name}").numpy() for name in schema.MODALITIES}
        return {name: mask for name, mask in masks.items() if mask.any()}

    def codebooks(self) -> Codebooks:
        """The tree of prefixes."""
        return PrefixTree(tuple(np.empty((size, 0)) for size in self.sizes))

    def vectors(self, fused: np.ndarray, modality_codes: Mapping[str, np.ndarray], present: Masks) -> dict[str, torch.Tensor]:
        """Fixed seeded vectors; the fused ones are those of the modality that the IDs are."""
        return {
            source: torch.from_numpy(
                path_vectors(self.config.given.modality if source == schema.FUSED else source, codes, self.config.dimensions)
            )
            for source, codes in sources(modality_codes, fused).items()
        }

    def statistics(self) -> Statistics:
        """How many items have no published ID."""
        return {"items_without_given_codes": int((~self.get_buffer(f"has_{self.config.given.modality}")).sum())}


def path_vectors(modality: str, codes: np.ndarray, dimensions: int) -> np.ndarray:
    """Vectors q of codes int64 [n, L]: float32 [n, dimensions], each of length 1."""
    sums = np.zeros((len(codes), dimensions), dtype=np.float32)
    for length in range(1, codes.shape[1] + 1):
        prefixes, rows = np.unique(codes[:, :length], axis=0, return_inverse=True)
        seeds = (hashlib.sha256(f"{modality} {prefix}".encode()).digest() for prefix in prefixes.tolist())
        nodes = [np.random.default_rng(int.from_bytes(seed[:8], "little")).standard_normal(dimensions, dtype=np.float32) for seed in seeds]
        sums += np.stack(nodes)[rows.reshape(-1)]
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def without_codebooks(config: QuantizationConfig) -> QuantizationConfig:
    """A profile's section with codebooks that every catalogue is large enough for and small enough: here none is fitted."""
    return config.model_copy(update={"codebook_sizes": [2] * 62})


def fit(data: TrainingData, config: QuantizationConfig, ingest: Path) -> Fitted:
    """Read published codes.

    Raises:
        StageError: The ingest artifact has none, or none of the modality; or there is no room for what the profile asks.
    """
    named = config.given.modality
    there = given_modalities(ingest)
    if named not in there:
        raise StageError(
            f"The tokenizer `given` takes published {named} codes, and the source has {'codes of ' + there[0] if there else 'none'}.",
            f"Choose `quantization: {{given: {{modality: {there[0]}}}}}` in the profile."
            if there
            else f"Name their file under `source: {{sequences: {{{named}_codes: ...}}}}` in the profile, or choose another tokenizer.",
        )
    given = {name: read_given_codes(ingest, name) for name in there}
    codes, has = given[named]
    if len(codes) != data.n_items:
        raise StageError(
            f"There are published codes for {len(codes)} items, and the catalogue has {data.n_items}.", "Run the stage `ingest` again."
        )
    sizes = [int(size) for size in np.max([values[mask].max(0) for values, mask in given.values()], axis=0) + 1]
    wished = codes.copy()
    lacking = np.flatnonzero(~has)
    if len(lacking):
        room = math.prod(sizes[1:])
        if len(lacking) > room or sizes[0] > LARGEST_CODE:
            raise StageError(
                f"{len(lacking)} of {data.n_items} items have no published {named} codes, more than the {room} IDs that one more code on "
                "the first level gives.",
                "Publish codes for more of them, or choose another tokenizer.",
            )
        wished[lacking, 0] = sizes[0]
        wished[lacking, 1:] = np.stack(np.unravel_index(np.arange(len(lacking)), sizes[1:]), 1) if sizes[1:] else 0
        sizes[0] += 1
    if config.given.repair and not data.n_items <= math.prod(sizes) <= MOST_IDS:
        raise StageError(
            f"Published codes of {sizes} give {math.prod(sizes)} IDs: too {'few' if math.prod(sizes) < data.n_items else 'many'} for the "
            f"repair of collisions among {data.n_items} items.",
            "Leave collisions as they are: `quantization: {given: {repair: false}}` in the profile.",
        )
    widths = {name: values.shape[1] for name, values in data.features.items()}
    tokenizer = GivenTokenizer(config, widths, sizes, data.n_items).eval()
    tokenizer.get_buffer("wished").copy_(torch.from_numpy(wished))
    for name, (values, mask) in given.items():
        tokenizer.get_buffer(f"codes_{name}").copy_(torch.from_numpy(values))
        tokenizer.get_buffer(f"has_{name}").copy_(torch.from_numpy(mask.copy()))
    return Fitted(tokenizer, Curve())
