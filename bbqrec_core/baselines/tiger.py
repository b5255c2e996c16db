"""TIGER as its public re-implementations have it: transformers' T5 over codes, one token each, and beam search over the catalogue's IDs.

Rajput et al., Recommender Systems with Generative Retrieval, NeurIPS 2023, arXiv:2305.05065. Sizes are TIGER's: 4 + 4 layers, 6 heads of
64, model width 128, feed-forward width 1024. Ours differs in: no token for the user; a beam may only go on to IDs of the catalogue.
What it is trained by is in `tiger_training.py`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LogitsProcessor, LogitsProcessorList, T5Config, T5ForConditionalGeneration

from bbqrec_core.baselines.config import TIGER
from bbqrec_core.baselines.files import write_model
from bbqrec_core.dataset import PADDING
from bbqrec_core.sequence.trie import Trie

PAD, END, FIRST = 0, 1, 2
"""Tokens before those of codes; code c of level l is FIRST + l * codes + c."""
USERS_AT_ONCE = 64
NOT_FOUND = -1e4
"""Score of every item that the beam did not find; the log-probability of an ID never falls so low."""
NETWORK = "network."
"""What names of tensors begin with."""


def nodes_of(tokens: torch.Tensor, trie: Trie, codes: int) -> torch.Tensor:
    """Walk the trie: tokens of the first levels of IDs, int64 [..., levels], to nodes, int64 [...]; meaningless where they lead nowhere."""
    nodes = torch.zeros(tokens.shape[:-1], dtype=torch.int64, device=tokens.device)
    for depth in range(tokens.shape[-1]):
        nodes = trie.child(nodes, (tokens[..., depth] - FIRST - depth * codes).clamp(0, codes - 1))
    return nodes


class TrieMask(LogitsProcessor):
    """Forbids what leads to no item, for all beams at once.

    Args:
        trie: The catalogue's.
        codes: Codes of a level.
    """

    def __init__(self, trie: Trie, codes: int) -> None:
        self.trie, self.codes = trie, codes

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Forbid by minus infinity; the first of `input_ids` starts the decoder, and each further one is a code."""
        level, nodes = input_ids.shape[1] - 1, nodes_of(input_ids[:, 1:], self.trie, self.codes)
        allowed = torch.zeros_like(scores, dtype=torch.bool)
        begin = FIRST + level * self.codes
        allowed[:, begin : begin + self.codes] = self.trie.legal(nodes, level, self.codes)
        return scores.masked_fill(~allowed, float("-inf"))


class TigerModel(nn.Module):
    """T5 over a catalogue's IDs. Initial weights come from torch's global generator.

    Args:
        ids: Semantic IDs, int64 [n_items, levels].

    Attributes:
        levels: Codes in an ID.
        codes: Codes of a level, the same for all.
        tokens: int64 [n_items, levels].
        trie: Of the IDs.
    """

    tokens: torch.Tensor

    def __init__(self, ids: torch.Tensor) -> None:
        super().__init__()
        self.levels, self.codes = ids.shape[1], int(ids.max()) + 1
        self.register_buffer("tokens", ids + FIRST + torch.arange(self.levels) * self.codes, persistent=False)
        self.trie = Trie(ids)
        self.network = T5ForConditionalGeneration(
            T5Config(
                vocab_size=FIRST + self.levels * self.codes,
                d_model=128,
                d_kv=64,
                d_ff=1024,
                num_layers=4,
                num_decoder_layers=4,
                num_heads=6,
                pad_token_id=PAD,
                eos_token_id=END,
            )
        )
        self.network.generation_config.decoder_start_token_id = PAD

    @property
    def ids(self) -> torch.Tensor:
        """What it was made from."""
        return self.tokens - FIRST - torch.arange(self.levels, device=self.tokens.device) * self.codes

    def loss(self, histories: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the targets' codes.

        Args:
            histories: item_idx, padded on the left, int64 [batch, length].
            targets: item_idx, int64 [batch].
        """
        tokens, mask = self._encode(histories)
        codes = self.tokens[targets]
        before = torch.cat([torch.full_like(codes[:, :1], PAD), codes[:, :-1]], dim=1)  # PAD starts the decoder
        return self.network(input_ids=tokens, attention_mask=mask, decoder_input_ids=before, labels=codes).loss

    def _encode(self, histories: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and attention mask, int64 [batch, length * levels] each."""
        real = (histories != PADDING)[:, :, None].expand(-1, -1, self.levels)
        tokens = torch.where(real, self.tokens[histories.clamp_min(0)], PAD)
        return tokens.flatten(1), real.flatten(1).long()

    @torch.no_grad()
    def generate(self, histories: torch.Tensor, beams: int, **allowed: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Search.

        Args:
            histories: item_idx, padded on the left, int64 [users, length]; at least one real item a row.
            beams: Beam width.
            allowed: How `generate` of transformers is told what may follow; a trie of tensors if nothing is said.

        Returns:
            Tokens of the IDs found, best first, int64 [users, beams, levels], and the log-probability of each, float32 [users, beams]:
            below NOT_FOUND where the catalogue has fewer IDs.
        """
        tokens, mask = self._encode(histories)
        network: Any = self.network  # whose `generate` is declared for another class of models
        found = network.generate(
            input_ids=tokens,
            attention_mask=mask,
            num_beams=beams,
            num_return_sequences=beams,
            max_new_tokens=self.levels,
            length_penalty=0.0,
            do_sample=False,
            output_scores=True,
            return_dict_in_generate=True,
            **(allowed or {"logits_processor": LogitsProcessorList([TrieMask(self.trie, self.codes)])}),
        )
        shape = (len(histories), beams)
        return found.sequences[:, 1 : 1 + self.levels].view(*shape, self.levels), found.sequences_scores.view(shape)

    def items_of(self, tokens: torch.Tensor) -> torch.Tensor:
        """The items of some IDs.

        Args:
            tokens: int64 [..., levels].

        Returns:
            item_idx, int64 [..., most items of an ID], -1 where there are fewer, or none at all.
        """
        first_leaf = self.trie.level_start[self.levels]
        items = self.trie.expand_leaves(nodes_of(tokens, self.trie, self.codes).clamp_min(first_leaf))
        return torch.where((self.tokens[items.clamp_min(0)] == tokens[..., None, :]).all(-1), items, PADDING)


class Tiger:
    """A trained TIGER behind the common interface.

    What its beam finds scores by log-probability, everything else alike and below; items that share an ID share its probability. An empty
    history is answered by popularity.

    Args:
        model: The network, in evaluation mode from here on.
        counts: Interactions per item in train, [n_items].
        max_history: Items that it looks at.
        beams: Beam width.
    """

    kind = TIGER
    name = "TIGER"

    def __init__(self, model: TigerModel, counts: torch.Tensor, max_history: int, beams: int) -> None:
        self.model = model.eval()
        self._counts = counts.to(model.tokens.device, torch.float32)
        self.n_items, self.max_history, self.beams = len(model.tokens), max_history, beams

    def score(self, histories: torch.Tensor) -> torch.Tensor:
        """See `Recommender.score`."""
        recent = histories.to(self._counts.device)[:, -self.max_history :]
        scores = self._counts.repeat(len(recent), 1)
        lengths = (recent != PADDING).sum(1)
        scores[lengths > 0] = NOT_FOUND
        by_length = lengths.argsort(stable=True)[int((lengths == 0).sum()) :]
        for start in range(0, len(by_length), USERS_AT_ONCE):
            rows = by_length[start : start + USERS_AT_ONCE]  # alike in length, so that little is padding
            tokens, found = self.model.generate(recent[rows][:, -int(lengths[rows].max()) :], self.beams)
            items = self.model.items_of(tokens)
            real = (items != PADDING) & (found > NOT_FOUND)[..., None]  # beams beyond what there is come with -1e9 or less
            shared = found[..., None] - real.sum(-1, keepdim=True).float().log()
            scores[rows[real.nonzero()[:, 0]], items[real]] = shared.expand(items.shape)[real]
        return scores

    def save(self, folder: Path) -> None:
        """Write it as `files.write_model` does."""
        description = {"kind": self.kind, "max_history": self.max_history, "beams": self.beams}
        weights = {NETWORK + name: tensor for name, tensor in self.model.network.named_parameters()}
        write_model(folder, description, {"counts": self._counts, "ids": self.model.ids, **weights})

    @classmethod
    def load(cls, description: dict[str, Any], tensors: dict[str, torch.Tensor], device: str) -> "Tiger":
        """Rebuild it from what `files.read_model` read."""
        with torch.random.fork_rng(devices=[]):
            model = TigerModel(tensors["ids"])
        for name, parameter in model.network.named_parameters():  # a weight that several layers share stands there once
            with torch.no_grad():
                parameter.copy_(tensors[NETWORK + name])
        return cls(model.to(device), tensors["counts"], description["max_history"], description["beams"])
