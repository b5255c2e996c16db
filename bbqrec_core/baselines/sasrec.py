"""SASRec (Kang and McAuley, 2018): a causal transformer over item embeddings that are also the output's weights.

Pre-norm blocks, learned positions counted from the oldest item, no bias on the output. What goes into the first block is normalised
too, as in RecBole's SASRec: vectors as small as the output wants them would be drowned there by what the blocks add. Trained with
cross-entropy over the whole catalogue (`sasrec_training.py`), since the original's binary loss explains most of what later models win over
it (Klenitskiy and Vasilev, 2023). Given semantic IDs, an item is its own vector plus the sum of its code vectors, on the way in and on the
way out; one that train does not have is its codes alone, and no loss speaks against it. Given buckets of item similarity, attention is
reweighted by them as our own model's is, so that it shows what reweighting is worth to another model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from bbqrec_core.baselines.files import write_model
from bbqrec_core.dataset import PADDING
from bbqrec_core.sequence.similarity import SimilarityBias, SimilarityBuckets

SCALE = ("dimensions", "heads", "layers")
MODEL, BUCKETS = "model.", "similarity.buckets."
"""What names of tensors begin with: the network's, and in it those of the buckets."""
INITIAL_STD = 0.02
ABSENT = 0
"""Row of the table of code vectors that stays zero."""


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each normalised first and added to what came in."""

    def __init__(self, dimensions: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(dimensions)
        self.queries_keys_values = nn.Linear(dimensions, 3 * dimensions)
        self.attention_out = nn.Linear(dimensions, dimensions)
        self.feed_norm = nn.LayerNorm(dimensions)
        self.feed_in = nn.Linear(dimensions, 4 * dimensions)
        self.feed_out = nn.Linear(4 * dimensions, dimensions)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Let every position look at itself and at earlier ones.

        Args:
            x: float32 [batch, width, dimensions].
            bias: Added to the attention logits, broadcastable to [batch, heads, width, width].
        """
        batch, width, dimensions = x.shape
        parts = self.queries_keys_values(self.attention_norm(x)).view(batch, width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind(0)
        drop = self.dropout if self.training else 0.0
        if bias is None:
            mixed = F.scaled_dot_product_attention(queries, keys, values, dropout_p=drop, is_causal=True)
        else:
            future = torch.ones(width, width, dtype=torch.bool, device=x.device).triu(1)
            mixed = F.scaled_dot_product_attention(queries, keys, values, bias.masked_fill(future, float("-inf")), dropout_p=drop)
        mixed = mixed.transpose(1, 2).reshape(batch, width, dimensions)
        x = x + F.dropout(self.attention_out(mixed), self.dropout, self.training)
        fed = self.feed_out(F.dropout(F.gelu(self.feed_in(self.feed_norm(x))), self.dropout, self.training))
        return x + F.dropout(fed, self.dropout, self.training)


class SasrecModel(nn.Module):
    """The network.

    Args:
        n_items: Catalogue size.
        max_history: Positions.
        dimensions: Width of everything.
        heads: Attention heads; divides `dimensions`.
        layers: Blocks.
        dropout: Share dropped in training.
        codes: From `code_rows`, int64 [n_items, codes of an item]; None = items are known by themselves alone.
        buckets: Of item similarity, by which attention is reweighted; None = it is not.
        warm: With codes: which items train has, bool [n_items]. The others have no vector of their own and compete with nobody in training.
    """

    codes: torch.Tensor
    warm: torch.Tensor | None

    def __init__(
        self,
        n_items: int,
        max_history: int,
        dimensions: int,
        heads: int,
        layers: int,
        dropout: float = 0.0,
        codes: torch.Tensor | None = None,
        buckets: SimilarityBuckets | None = None,
        warm: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.register_buffer("warm", warm)
        self.item = nn.Embedding(n_items, dimensions)
        self.position = nn.Embedding(max_history, dimensions)
        self.blocks = nn.ModuleList(Block(dimensions, heads, dropout) for _ in range(layers))
        self.input_norm = nn.LayerNorm(dimensions)
        self.norm = nn.LayerNorm(dimensions)
        nn.init.normal_(self.item.weight, std=INITIAL_STD)
        nn.init.normal_(self.position.weight, std=INITIAL_STD)
        self.similarity = None if buckets is None else SimilarityBias(buckets, layers, heads)
        self.code = None
        if codes is not None:
            self.register_buffer("codes", codes)
            self.code = nn.Embedding(int(codes.max()) + 1, dimensions, padding_idx=ABSENT)
            with torch.no_grad():  # the sum of an item's codes starts as large as its own vector
                self.code.weight[ABSENT + 1 :].normal_(std=INITIAL_STD * codes.shape[1] ** -0.5)

    def vectors(self) -> torch.Tensor:
        """Every item's vector, float32 [n_items, dimensions]."""
        own = self.item.weight if self.warm is None else self.item.weight * self.warm[:, None]
        return own if self.code is None else own + self.code(self.codes).sum(1)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Encode sequences.

        Args:
            items: item_idx, oldest first, padded on the RIGHT with PADDING, int64 [batch, width], width at most max_history. No real
                position ever sees the padding, since it lies in its future.

        Returns:
            float32 [batch, width, dimensions]; `logits` of a position foretells the item after it. Meaningless at padding.
        """
        known = items.clamp_min(0)
        x = (self.item(known) if self.code is None else self.vectors()[known]) + self.position.weight[: items.shape[1]]
        x = F.dropout(self.input_norm(x), self.dropout, self.training)
        biases = None if self.similarity is None else self.similarity(items)
        for number, block in enumerate(self.blocks):
            x = block(x, None if biases is None else biases[number])
        return self.norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores of all items: [..., dimensions] to [..., n_items], by the input's own vectors."""
        return hidden @ self.vectors().T


def code_rows(semantic_ids: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> torch.Tensor:
    """Number the codes of all sources and levels through, so that one table holds their vectors.

    Args:
        semantic_ids: Per source codes, int64 [n_items, levels], and who has them, bool [n_items].

    Returns:
        int64 [n_items, levels of all sources]; ABSENT where an item lacks a source.
    """
    columns, first = [], ABSENT + 1
    for codes, present in semantic_ids.values():
        for level in codes.T:
            columns.append(np.where(present, level + first, ABSENT))
            first += int(level.max()) + 1
    return torch.from_numpy(np.stack(columns, axis=1))


def align_left(histories: torch.Tensor) -> torch.Tensor:
    """Move padding to the right, wherever it is, and cut what no row needs.

    Args:
        histories: int64 [batch, width], oldest first.

    Returns:
        int64 [batch, longest], padded on the right.
    """
    padding = histories == PADDING
    order = padding.to(torch.int8).sort(dim=1, stable=True).indices
    return histories.gather(1, order)[:, : int((~padding).sum(1).max())]


class Sasrec:
    """A trained SASRec behind the common interface; an empty history is answered by popularity.

    Args:
        model: The network, in evaluation mode from here on.
        counts: Interactions per item in train, [n_items].
    """

    kind = "sasrec"
    with_codes = "sasrec_with_codes"
    reweighted = "sasrec_with_codes_reweighted"

    def __init__(self, model: SasrecModel, counts: torch.Tensor) -> None:
        self.model = model.eval()
        self.kind, self.name = (Sasrec.kind, "SASRec") if model.code is None else (Sasrec.with_codes, "SASRec with codes")
        if model.similarity is not None:
            self.kind, self.name = Sasrec.reweighted, "SASRec with codes, reweighted"
        self._counts = counts.to(model.item.weight.device, torch.float32)
        self.n_items = model.item.num_embeddings
        self.max_history = model.position.num_embeddings

    def score(self, histories: torch.Tensor) -> torch.Tensor:
        """See `Recommender.score`."""
        recent = histories.to(self._counts.device)[:, -self.max_history :]
        scores = self._counts.log1p().repeat(len(recent), 1)  # of nobody known: popularity, on the scale of the logits
        known = (recent != PADDING).any(1).nonzero()[:, 0]
        if len(known):
            items = align_left(recent[known])
            last = (items != PADDING).sum(1) - 1
            with torch.inference_mode():
                hidden = self.model(items)[torch.arange(len(items), device=items.device), last]
                scores[known] = self.model.logits(hidden)
        return scores

    def describe(self) -> dict[str, Any]:
        """All but the numbers of `tensors`, JSON-ready."""
        block = self.model.blocks[0]
        assert isinstance(block, Block)
        spec = None if self.model.similarity is None else self.model.similarity.buckets.spec
        return {
            "kind": self.kind,
            "n_items": self.n_items,
            "max_history": self.max_history,
            "dimensions": self.model.item.embedding_dim,
            "heads": block.heads,
            "layers": len(self.model.blocks),
            "similarity": None if spec is None else {"kind": spec.kind, "sources": list(spec.sources)},
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """What `load` needs besides `describe`."""
        return {"counts": self._counts, **{MODEL + name: tensor for name, tensor in self.model.state_dict().items()}}

    def save(self, folder: Path) -> None:
        """Write it as `files.write_model` does."""
        write_model(folder, self.describe(), self.tensors())

    @classmethod
    def load(cls, description: dict[str, Any], tensors: dict[str, torch.Tensor], device: str) -> "Sasrec":
        """Rebuild it from what `files.read_model` read."""
        scale = {name: description[name] for name in ("n_items", "max_history", *SCALE)}
        state = {name.removeprefix(MODEL): tensor for name, tensor in tensors.items() if name.startswith(MODEL)}
        buckets, told = None, description["similarity"]
        if told is not None:
            buffers = {name.removeprefix(BUCKETS): tensor for name, tensor in state.items() if name.startswith(BUCKETS)}
            buckets = SimilarityBuckets.load(told["kind"], tuple(told["sources"]), buffers)
        model = SasrecModel(**scale, codes=state.get("codes"), buckets=buckets, warm=state.get("warm"))
        model.load_state_dict(state)
        return cls(model.to(device), tensors["counts"])
