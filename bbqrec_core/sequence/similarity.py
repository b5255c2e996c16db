"""Discretized similarity reweighting: from pairs of items to buckets, from buckets to an additive attention mask.

Belongs here: how similar two items of a history are, in buckets, per source, and the learned weight of each bucket. It knows nothing
of the model around it: any attention that takes an additive mask can use it (the SASRec baseline does).
Method: `logits_pq += sum_m w[layer, head, m, bucket_m(i, j)]`, w zero at initialisation.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from bbqrec_core.sequence.catalogue import Catalogue
from bbqrec_core.sequence.config import SimilarityConfig

NO_BUCKET = -1
"""Pairs without a similarity: padding, the start of a sequence, an item that lacks the modality."""
EDGE_PAIRS = 200_000
CLOSE = 1e-4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SimilaritySpec:
    """How pairs are put into buckets.

    Attributes:
        kind: "quantile" of the cosine between quantized vectors, or "prefix" for the length of the codes' common prefix.
        sources: Whose similarities, in order.
        edges: Per source, upper edges of all buckets but the last, float32 [at most buckets - 1], ascending; empty for kind "prefix".
    """

    kind: Literal["quantile", "prefix"]
    sources: tuple[str, ...]
    edges: dict[str, torch.Tensor]

    @classmethod
    def fit(
        cls, catalogue: Catalogue, sources: tuple[str, ...], kind: Literal["quantile", "prefix"], buckets: int, seed: int
    ) -> "SimilaritySpec":
        """Place bucket edges at the quantiles of seeded random pairs of different items; no behaviour is looked at."""
        edges = {}
        if kind == "quantile":
            for source in sources:
                edges[source] = quantile_edges(catalogue.vectors[source][catalogue.present[source]], buckets, seed)
        return cls(kind, sources, edges)


def similarity_spec(config: SimilarityConfig, catalogue: Catalogue, seed: int) -> SimilaritySpec | None:
    """What a profile asks for, less the sources that no item has; None where nothing is left."""
    sources = tuple(source for source in config.sources if source in catalogue.codes)
    for source in config.sources:
        if source not in catalogue.codes:
            log.info("no item has %s codes: attention is not reweighted by them", source)
    return SimilaritySpec.fit(catalogue, sources, config.kind, config.buckets, seed) if sources else None


def quantile_edges(vectors: torch.Tensor, buckets: int, seed: int) -> torch.Tensor:
    """Edges that put about as many random pairs of different items into each bucket.

    Quantized vectors are few, so their cosines repeat: each edge lies midway between two clearly different values, lest rounding
    (which may depend on the batch) move a pair to another bucket. Fewer edges come back where there are fewer different values.

    Args:
        vectors: float32 [n, d].
        buckets: How many buckets are wanted.
        seed: Of the random pairs.

    Returns:
        float32 [at most buckets - 1], ascending.
    """
    if len(vectors) < 2:
        return torch.empty(0)
    generator = torch.Generator().manual_seed(seed)
    left = torch.randint(len(vectors), (EDGE_PAIRS,), generator=generator)
    right = (left + torch.randint(1, len(vectors), (EDGE_PAIRS,), generator=generator)) % len(vectors)
    units = normalised(vectors.double())
    values = (units[left] * units[right]).sum(-1).sort().values
    edges: list[float] = []
    for bucket in range(1, buckets):
        value = values[len(values) * bucket // buckets]
        position = int(torch.searchsorted(values, value + CLOSE))
        if position == len(values):
            break
        below = values[position - 1]
        edge = float((below + values[position]) / 2)
        if not edges or edge > edges[-1]:
            edges.append(edge)
    return torch.tensor(edges, dtype=torch.float32)


def normalised(vectors: torch.Tensor) -> torch.Tensor:
    """Rows scaled to length 1; zero rows stay zero."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)


class SimilarityBuckets(nn.Module):
    """Buckets of all pairs in a batch of sequences, computed on the fly: memory grows with the batch, never with the catalogue squared.

    Args:
        catalogue: Codes and quantized vectors.
        spec: How to put pairs into buckets.
    """

    def __init__(self, catalogue: Catalogue, spec: SimilaritySpec) -> None:
        super().__init__()
        self.spec = spec
        self.counts: list[int] = []
        for source in spec.sources:
            self.register_buffer(f"present_{source}", catalogue.present[source].clone())
            if spec.kind == "prefix":
                codes = catalogue.codes[source]
                self.register_buffer(f"codes_{source}", codes.clone())
                self.counts.append(codes.shape[1] + 1)
            else:
                self.register_buffer(f"units_{source}", normalised(catalogue.vectors[source]))
                self.register_buffer(f"edges_{source}", spec.edges[source].clone())
                self.counts.append(len(spec.edges[source]) + 2)

    @classmethod
    def load(
        cls, kind: Literal["quantile", "prefix"], sources: tuple[str, ...], buffers: Mapping[str, torch.Tensor]
    ) -> "SimilarityBuckets":
        """Rebuild them from their own buffers.

        Args:
            kind: Of the specification.
            sources: Of the specification.
            buffers: By name, as `state_dict` has them.

        Raises:
            KeyError: One is missing.
        """
        present = {source: buffers[f"present_{source}"] for source in sources}
        prefix = kind == "prefix"
        codes = {source: buffers[f"codes_{source}"] for source in sources if prefix}
        vectors = {source: buffers[f"units_{source}"] for source in sources if not prefix}
        edges = {source: buffers[f"edges_{source}"] for source in sources if not prefix}
        warm = torch.ones_like(next(iter(present.values())))
        made = cls(Catalogue(codes, present, vectors, warm), SimilaritySpec(kind, sources, edges))
        made.load_state_dict(dict(buffers))
        return made

    @property
    def n_buckets(self) -> int:
        """Most buckets that any source has."""
        return max(self.counts)

    def label(self, source: int, bucket: int) -> str:
        """What a bucket of a source (by its place) means, for tables and plots."""
        if self.spec.kind == "prefix":
            return f"prefix {bucket}"
        edges = self.spec.edges[self.spec.sources[source]].tolist()
        if bucket > len(edges):
            return "same item"
        low = f"{edges[bucket - 1]:.3f}" if bucket else "-1"
        high = f"{edges[bucket]:.3f}" if bucket < len(edges) else "1"
        return f"{low} to {high}"

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Put all pairs into buckets.

        Args:
            items: item_idx, int64 [batch, width]; negative where there is no item.

        Returns:
            int64 [batch, width, width, sources]: for "prefix" the length of the common prefix; for "quantile" the quantile, and one
            more for an item with itself; NO_BUCKET where there is none.
        """
        real = items >= 0
        safe = items.clamp_min(0)
        same = items[:, :, None] == items[:, None, :]
        planes = []
        for source in self.spec.sources:
            if self.spec.kind == "prefix":
                codes = self.get_buffer(f"codes_{source}")[safe]
                bucket = (codes[:, :, None, :] == codes[:, None, :, :]).long().cumprod(-1).sum(-1)
            else:
                units = self.get_buffer(f"units_{source}")[safe]
                edges = self.get_buffer(f"edges_{source}")
                with torch.autocast(units.device.type, enabled=False):  # half precision is coarser than what the edges keep clear of
                    bucket = torch.bucketize(units @ units.transpose(1, 2), edges)
                bucket = bucket.masked_fill(same, len(edges) + 1)
            here = real & self.get_buffer(f"present_{source}")[safe]
            planes.append(bucket.masked_fill(~(here[:, :, None] & here[:, None, :]), NO_BUCKET))
        return torch.stack(planes, dim=-1)


class SimilarityBias(nn.Module):
    """The learned weights: an additive attention mask per layer and head, exactly zero until something is learned.

    Args:
        buckets: Where pairs get their buckets from.
        layers: Attention layers.
        heads: Heads of each layer.
    """

    def __init__(self, buckets: SimilarityBuckets, layers: int, heads: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.weight = nn.Parameter(torch.zeros(layers, heads, len(buckets.spec.sources), buckets.n_buckets))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Weights for all pairs.

        Args:
            items: item_idx, int64 [batch, width]; negative where there is no item.

        Returns:
            float32 [layers, batch, heads, width, width], to be added to the attention scores.
        """
        layers, heads, sources, n_buckets = self.weight.shape
        buckets = self.buckets(items)
        # One product with a 0/1 matrix instead of a gather: its backward pass is a product too, quick and reproducible on every device.
        hot = (buckets[..., None] == torch.arange(n_buckets, device=items.device)).to(self.weight.dtype)
        bias = hot.flatten(-2) @ self.weight.reshape(layers * heads, sources * n_buckets).T
        return bias.unflatten(-1, (layers, heads)).permute(3, 0, 4, 1, 2)


@torch.no_grad()
def bucket_shares(buckets: SimilarityBuckets, sequences: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """How often each bucket occurs among pairs of a position and an earlier one: what the weights have to learn from.

    Args:
        buckets: Where pairs get their buckets from.
        sequences: item_idx, int [n, width]; negative where there is no item.
        batch_size: Sequences looked at a time.

    Returns:
        float64 [sources, n_buckets], of all pairs of items; a row sums to less than 1 where items lack the modality.
    """
    sources = len(buckets.spec.sources)
    counts = torch.zeros(sources, buckets.n_buckets, dtype=torch.int64)
    pairs = 0
    earlier = torch.ones(sequences.shape[1], sequences.shape[1], dtype=torch.bool).tril(-1)
    for part in sequences.split(batch_size):
        items = part.long()
        real = items >= 0
        chosen = buckets(items)[earlier & real[:, :, None] & real[:, None, :]]
        pairs += len(chosen)
        for source in range(sources):
            column = chosen[:, source]
            counts[source] += torch.bincount(column[column >= 0], minlength=buckets.n_buckets)
    return counts.double() / max(1, pairs)
