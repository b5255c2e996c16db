"""The fixed small sequence model: what semantic IDs alone are worth to a recommender, whoever made them.

A causal transformer with one position per item. An item is the sum of its codes' vectors, one learned table per level, as input and as
output; it has no vector of its own and no features, so that two items differ by their IDs or not at all:

    e_i = sum_l T_l[c_il];   h = Transformer(e_{i_1} + p_1, ..., e_{i_n} + p_n);   p(next = j) = softmax_j(h_n . e_j)

over the whole catalogue. Size, training and seed are the same for every tokenizer and are tuned for none.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from bbqrec_core.baselines.sasrec import Block, align_left
from bbqrec_core.baselines.sasrec_training import schedule, training_windows
from bbqrec_core.dataset import PADDING, EvalSplit, SequenceDataset
from bbqrec_core.errors import StageError
from bbqrec_core.evaluation.metrics import expected_ndcg
from bbqrec_core.evaluation.ranking import rank_targets, seen_items
from bbqrec_core.full_softmax import full_softmax_loss
from bbqrec_core.progress import track
from bbqrec_core.recommender import mask_seen

RANKED_AT_ONCE = 512
CUTOFF = 10


@dataclass(frozen=True)
class Recipe:
    """Size and training of the model."""

    dimensions: int = 64
    heads: int = 2
    layers: int = 2
    dropout: float = 0.2
    max_history: int = 20
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.05
    clip_norm: float = 1.0


class FixedModel(nn.Module):
    """The network.

    Args:
        codes: Semantic IDs, int64 [n_items, L].
        sizes: K_1..K_L.
        recipe: Its size.
    """

    rows: torch.Tensor

    def __init__(self, codes: np.ndarray, sizes: list[int], recipe: Recipe) -> None:
        super().__init__()
        width = recipe.dimensions
        self.dropout = recipe.dropout
        self.tables = nn.Embedding(sum(sizes), width)
        self.position = nn.Embedding(recipe.max_history, width)
        self.blocks = nn.ModuleList(Block(width, recipe.heads, recipe.dropout) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(width)
        # A sum of L vectors is then as long as the vector of an item or a position usually is.
        nn.init.normal_(self.tables.weight, std=(width * len(sizes)) ** -0.5)
        nn.init.normal_(self.position.weight, std=width**-0.5)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.register_buffer("rows", torch.from_numpy(codes + starts))

    def items(self) -> torch.Tensor:
        """e, float32 [n_items, d]."""
        return F.embedding_bag(self.rows, self.tables.weight, mode="sum")

    def forward(self, histories: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """States that the next item is scored from.

        Args:
            histories: item_idx, oldest first, padded on the RIGHT with PADDING, int64 [batch, width].
            items: What `items` gave.

        Returns:
            float32 [batch, width, d]; meaningless at padding.
        """
        x = F.embedding(histories.clamp_min(0), items) + self.position.weight[: histories.shape[1]]
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def train_model(codes: np.ndarray, sizes: list[int], dataset: SequenceDataset, recipe: Recipe, seed: int) -> FixedModel:
    """Train on the train part for a fixed number of epochs, with cross-entropy over the whole catalogue at every position.

    Args:
        codes: Semantic IDs, int64 [n_items, L].
        sizes: K_1..K_L.
        dataset: Sequences; only their train part is looked at.
        recipe: What is the same for everyone.
        seed: Decides initial weights, order and dropout.

    Raises:
        StageError: No user has two items in train.
    """
    windows = torch.from_numpy(training_windows(dataset.train_offsets, dataset.train_items, recipe.max_history))
    if not len(windows):
        raise StageError("No user has two items in train, so a sequence model has nothing to learn from.", "Measure on longer sequences.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FixedModel(codes, sizes, recipe).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        steps = recipe.epochs * -(-len(windows) // recipe.batch_size)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(min(1.0, (step + 1) / steps), recipe.warmup_share))
        for _ in track(range(recipe.epochs), "fixed sequence model, epochs", total=recipe.epochs, unit="epoch"):
            for rows in torch.randperm(len(windows)).split(recipe.batch_size):
                batch = windows[rows]
                batch = batch[:, : int((batch != PADDING).sum(1).max())]
                targets = batch[:, 1:]
                real = targets != PADDING
                items = model.items()
                loss = full_softmax_loss(model(batch[:, :-1], items)[real], items, targets[real])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
                optimizer.step()
                rate.step()
    return model.eval()


@torch.inference_mode()
def ndcg_per_user(model: FixedModel, split: EvalSplit) -> np.ndarray:
    """NDCG@10 of each user of a split, by full ranking with seen items masked, ties by expectation. float64 [users].

    Raises:
        StageError: A score is not finite.
    """
    items = model.items()
    above, tied = [], []
    for start in range(0, len(split), RANKED_AT_ONCE):
        place = slice(start, min(start + RANKED_AT_ONCE, len(split)))
        histories = align_left(torch.from_numpy(split.histories[place])[:, -model.position.num_embeddings :])
        last = (histories != PADDING).sum(1) - 1
        scores = model(histories, items)[torch.arange(len(histories)), last] @ items.T
        if not torch.isfinite(scores).all():
            raise StageError("The fixed sequence model gives scores that are not finite.", "Its training diverged: look at the IDs.")
        targets = torch.from_numpy(split.targets[place])
        counts = rank_targets(mask_seen(scores, *seen_items(split, place)), targets)
        above.append(counts[0].numpy())
        tied.append(counts[1].numpy())
    return expected_ndcg(np.concatenate(above), np.concatenate(tied), CUTOFF)
