"""The sequence model: items in, a hidden state per position out, and two heads that turn states into log-probabilities of items.

One position per item. An item is its own vector (none for items that never occur in train) plus the sum of its code vectors. Attention is
causal and reweighted by discretized similarity (`similarity.py`); the generative head is `decoder.py`. No training loop, no search.
"""

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from bbqrec_core import schema
from bbqrec_core.full_softmax import full_softmax_loss
from bbqrec_core.sequence.catalogue import Catalogue
from bbqrec_core.sequence.config import SequenceConfig
from bbqrec_core.sequence.decoder import DepthDecoder
from bbqrec_core.sequence.similarity import SimilarityBias, SimilarityBuckets, SimilaritySpec
from bbqrec_core.sequence.trie import Trie

PAD = -1
START = -2
"""Stands before every history, so that an empty one has a state to predict from."""
DENSE = "dense"
GENERATIVE = "generative"
SHARPNESS = 12.0
"""What cosines are multiplied by at first: about e^2.5, which lets a softmax over thousands of items tell the near from the far."""


def tokens_of(histories: torch.Tensor, n_items: int, max_history: int) -> torch.Tensor:
    """Bring histories into the model's form.

    Args:
        histories: item_idx in time order, most recent last, int64 [batch, any]; -1 (padding, or an item the catalogue does not
            know) may stand anywhere and is skipped.
        n_items: Catalogue size.
        max_history: How many of the most recent items are kept.

    Returns:
        int64 [batch, width], right-aligned: PAD, START, items; width is that of the longest row and no more.

    Raises:
        ValueError: An entry is neither -1 nor an item of the catalogue.
    """
    if histories.numel() and (int(histories.max()) >= n_items or int(histories.min()) < PAD):
        raise ValueError(f"histories may hold item_idx from 0 to {n_items - 1}, and -1 for padding or unknown items")
    order = (histories >= 0).long().argsort(dim=1, stable=True)
    packed = histories.gather(1, order)[:, max(0, histories.shape[1] - max_history) :]
    width = int((packed >= 0).sum(1).max()) if packed.numel() else 0
    packed = F.pad(packed[:, packed.shape[1] - width :], (1, 0), value=PAD)
    return place_start(packed)


def place_start(packed: torch.Tensor) -> torch.Tensor:
    """Write START before the first item of each row; int64 [batch, width], right-aligned, first column free."""
    width = packed.shape[1]
    first = width - (packed >= 0).sum(1) - 1
    return packed.scatter(1, first[:, None], START)


class Block(nn.Module):
    """A pre-norm transformer block whose attention takes an additive mask."""

    def __init__(self, dimensions: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(dimensions)
        self.qkv = nn.Linear(dimensions, 3 * dimensions)
        self.project = nn.Linear(dimensions, dimensions)
        self.feed_norm = nn.LayerNorm(dimensions)
        self.widen = nn.Linear(dimensions, 4 * dimensions)
        self.narrow = nn.Linear(4 * dimensions, dimensions)
        self.drop = nn.Dropout(dropout)

    def residual_ends(self) -> tuple[nn.Linear, nn.Linear]:
        """The layers whose output is added to the residual stream."""
        return self.project, self.narrow

    def forward(self, x: torch.Tensor, places: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Transform positions; only attention is told of padding, everything else is spared it.

        Args:
            x: Of all positions that are no padding, float32 [n, d].
            places: Where they are in batch * width, int64 [n].
            mask: Additive, float32 [batch, 1 or heads, width, width].

        Returns:
            float32 [n, d].
        """
        batch, width, dimensions = mask.shape[0], mask.shape[-1], x.shape[-1]
        qkv = self.qkv(self.attention_norm(x))
        qkv = qkv.new_zeros(batch * width, 3 * dimensions).index_copy(0, places, qkv)
        query, key, value = qkv.view(batch, width, 3, self.heads, dimensions // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask.to(query.dtype), dropout_p=self.dropout if self.training else 0.0
        )
        x = x + self.drop(self.project(mixed.transpose(1, 2).reshape(batch * width, dimensions)[places]))
        return x + self.drop(self.narrow(F.gelu(self.widen(self.feed_norm(x)))))


class ItemVectors(nn.Module):
    """An item's vector: its own plus the sum of its code vectors, one table per source and level.

    Args:
        catalogue: Codes, and which items occur in train.
        config: Which parts there are.
    """

    warm: torch.Tensor

    def __init__(self, catalogue: Catalogue, config: SequenceConfig) -> None:
        super().__init__()
        self.id_dropout = config.id_dropout
        self.dimensions = config.dimensions
        self.sources = tuple(source for source in config.code_sources if source in catalogue.codes)
        self.register_buffer("warm", catalogue.warm.clone(), persistent=False)
        self.own = nn.Embedding(catalogue.n_items, config.dimensions) if config.item_ids or not self.sources else None
        self.tables = nn.ModuleDict()
        for source in self.sources:
            self.register_buffer(f"codes_{source}", catalogue.codes[source].clone(), persistent=False)
            self.register_buffer(f"present_{source}", catalogue.present[source].clone(), persistent=False)
            self.tables[source] = nn.ModuleList(nn.Embedding(count, config.dimensions) for count in catalogue.code_counts(source))

    def content(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """The part that comes from codes.

        Args:
            rows: item_idx, int64 [...]; None = the whole catalogue.

        Returns:
            float32 [..., d].
        """
        total = torch.zeros(*(self.warm.shape if rows is None else rows.shape), self.dimensions, device=self.warm.device)
        for source in self.sources:
            codes, present = self.get_buffer(f"codes_{source}"), self.get_buffer(f"present_{source}")
            if rows is not None:
                codes, present = codes[rows], present[rows]
            tables = cast(nn.ModuleList, self.tables[source])
            levels = [table(codes[..., level]) for level, table in enumerate(tables)]
            total = total + torch.stack(levels).sum(0) * present[..., None]
        return total

    def identity(self, rows: torch.Tensor | None = None) -> torch.Tensor | None:
        """The part that is the item's own, rows and shape as for `content`; zero for items that never occur in train."""
        if self.own is None:
            return None
        return self.own.weight * self.warm[:, None] if rows is None else self.own(rows) * self.warm[rows][..., None]

    def keep(self, shape: torch.Size | tuple[int, ...]) -> torch.Tensor | float:
        """Which own vectors survive dropout, 0 or 1 [*shape, 1]; they are not scaled up, for codes alone must do where they are missing.

        Where no codes are read all survive: there is nothing that could do without.
        """
        if not self.training or self.id_dropout == 0 or not self.sources:
            return 1.0
        return (torch.rand(*shape, 1, device=self.warm.device) >= self.id_dropout).float()


class SequenceModel(nn.Module):
    """The whole model.

    Args:
        config: Profile section `sequence`.
        catalogue: Codes, vectors, train items.
        similarity: How pairs of items are put into buckets; None = no reweighting.
    """

    def __init__(self, config: SequenceConfig, catalogue: Catalogue, similarity: SimilaritySpec | None) -> None:
        super().__init__()
        self.config = config
        self.n_items = catalogue.n_items
        self.items = ItemVectors(catalogue, config)
        self.start = nn.Parameter(torch.zeros(config.dimensions))
        self.position = nn.Embedding(config.max_history + 1, config.dimensions)
        self.blocks = nn.ModuleList(Block(config.dimensions, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dimensions)
        self.drop = nn.Dropout(config.dropout)
        self.log_sharpness = None
        if config.dense_score == "cosine" and DENSE in self.heads:
            self.log_sharpness = nn.Parameter(torch.tensor(math.log(SHARPNESS)))
        self.similarity = None
        if similarity is not None and similarity.sources:
            self.similarity = SimilarityBias(SimilarityBuckets(catalogue, similarity), config.layers, config.heads)
        self.decoder = None
        if config.generative_weight > 0:
            codes = catalogue.codes[schema.FUSED]
            tries = Trie(codes), Trie(codes, catalogue.warm)
            self.decoder = DepthDecoder(config.dimensions, catalogue.code_counts(schema.FUSED), *tries, config.dropout)
        self.apply(_initialise)
        for block in self.blocks:  # residual branches start small, as in GPT-2
            for layer in cast(Block, block).residual_ends():
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * config.layers))
        nn.init.normal_(self.start, std=0.02)

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that are switched on."""
        return tuple(
            name for name, weight in ((DENSE, self.config.dense_weight), (GENERATIVE, self.config.generative_weight)) if weight > 0
        )

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """A state per position, each from what stands at and before it.

        Args:
            tokens: From `tokens_of`, int64 [batch, width].

        Returns:
            float32 [batch, width, d]; zero at padding.
        """
        here = tokens != PAD
        places = here.flatten().nonzero()[:, 0]
        kept = tokens.flatten()[places]
        safe = kept.clamp_min(0)
        # A batch that is smaller than the catalogue pays for its own items only.
        x = self.items.content(safe) if safe.numel() < self.n_items else self.items.content()[safe]
        identity = self.items.identity(safe)
        if identity is not None:
            x = x + identity * self.items.keep(safe.shape)
        x = torch.where((kept >= 0)[:, None], x, self.start)
        first = (~here).sum(1, keepdim=True)
        position = torch.arange(tokens.shape[1], device=tokens.device) - first
        x = self.drop(x + self.position(position.flatten()[places]))
        mask = causal_mask(here)
        bias = self.similarity(tokens) if self.similarity is not None else None
        for layer, block in enumerate(self.blocks):
            x = block(x, places, mask if bias is None else mask + bias[layer])
        x = self.norm(x)
        return x.new_zeros(tokens.numel(), x.shape[-1]).index_copy(0, places, x).view(*tokens.shape, -1)

    def hidden(self, histories: torch.Tensor) -> torch.Tensor:
        """The state after each history: int64 [batch, any], as for `tokens_of`, to float32 [batch, d]."""
        return self.states(tokens_of(histories, self.n_items, self.config.max_history))[:, -1]

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses of a training batch, all positions at once.

        Args:
            tokens: int64 [batch, width].
            targets: Next items, all of which occur in train, int64 [batch, width]; negative where there is none.

        Returns:
            Per head a scalar: mean negative log-probability of the targets among the items that occur in train.
        """
        states = self.states(tokens)[targets >= 0]
        targets = targets[targets >= 0]
        losses = {}
        if DENSE in self.heads:
            factors = self._dense_factors(states, self.items.warm.nonzero()[:, 0])
            losses[DENSE] = full_softmax_loss(*factors, (self.items.warm.cumsum(0) - 1)[targets])
        if self.decoder is not None:
            losses[GENERATIVE] = self.decoder.loss(states, targets)
        return losses

    def _dense_factors(self, states: torch.Tensor, rows: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """What the dense head's logits are products of: states [n, d] and items [m, d]; `rows`, int64 [m], as for `ItemVectors.content`."""
        vectors = self.items.content(rows)
        identity = self.items.identity(rows)
        if identity is not None:
            vectors = vectors + identity * self.items.keep((len(vectors),))
        if self.log_sharpness is None:
            return states, vectors
        return F.normalize(states, dim=-1) * self.log_sharpness.exp(), F.normalize(vectors, dim=-1)

    def _dense_logits(self, states: torch.Tensor) -> torch.Tensor:
        """The dense head's logits of every item: float32 [n, d] to float32 [n, n_items]."""
        states, vectors = self._dense_factors(states)
        return (states @ vectors.T).float()

    @torch.no_grad()
    def dense_log_probs(self, hidden: torch.Tensor) -> torch.Tensor:
        """The dense head's log-probabilities of every item: float32 [batch, d] to float32 [batch, n_items]."""
        return self._dense_logits(hidden).log_softmax(-1)

    @torch.no_grad()
    def log_probs(self, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each head's log-probabilities of every item: float32 [batch, d] to float32 [batch, n_items] by head."""
        scores = {}
        if DENSE in self.heads:
            scores[DENSE] = self.dense_log_probs(hidden)
        if self.decoder is not None:
            scores[GENERATIVE] = self.decoder.score_all(hidden)
        return scores


def causal_mask(real: torch.Tensor) -> torch.Tensor:
    """Additive mask: each position sees the real ones up to itself (and itself, lest a padded row be empty).

    Args:
        real: bool [batch, width].

    Returns:
        float32 [batch, 1, width, width]; 0 or minus infinity.
    """
    width = real.shape[1]
    earlier = torch.ones(width, width, dtype=torch.bool, device=real.device).tril()
    allowed = (earlier & real[:, None, :]) | torch.eye(width, dtype=torch.bool, device=real.device)
    return torch.zeros(allowed.shape, device=real.device).masked_fill(~allowed, float("-inf"))[:, None]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
