"""TIGER as its public re-implementations have it: transformers' T5 over codes, one token each, and beam search.

Sizes are TIGER's (Rajput et al., 2023): 4 + 4 layers, 6 heads of 64, model width 128, feed-forward width 1024. What a beam may go on
with is told either by `prefix_allowed_tokens_fn`, one Python call per beam and step, or by a trie of tensors for all beams at once.
"""

import torch
from transformers import LogitsProcessor, LogitsProcessorList, T5Config, T5ForConditionalGeneration

from bbqrec_core.sequence.trie import Trie

PAD, END, FIRST = 0, 1, 2
"""Tokens before those of codes; code c of level l is FIRST + l * codes + c."""


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
        nodes = torch.zeros(len(input_ids), dtype=torch.int64, device=input_ids.device)
        level = input_ids.shape[1] - 1
        for depth in range(level):
            nodes = self.trie.child(nodes, (input_ids[:, depth + 1] - FIRST - depth * self.codes).clamp(0, self.codes - 1))
        allowed = torch.zeros_like(scores, dtype=torch.bool)
        begin = FIRST + level * self.codes
        allowed[:, begin : begin + self.codes] = self.trie.legal(nodes, level, self.codes)
        return scores.masked_fill(~allowed, float("-inf"))


class T5Recommender:
    """T5 over a catalogue, with random weights until it is trained.

    Args:
        ids: Semantic IDs, distinct, int64 [n_items, levels].
        codes: Codes of a level.
        seed: Of the weights.
        device: Where it computes.
    """

    def __init__(self, ids: torch.Tensor, codes: int, seed: int, device: str = "cpu") -> None:
        self.levels = ids.shape[1]
        self.tokens = (ids + FIRST + torch.arange(self.levels) * codes).to(device)
        torch.manual_seed(seed)
        self.model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=FIRST + self.levels * codes,
                d_model=128,
                d_kv=64,
                d_ff=1024,
                num_layers=4,
                num_decoder_layers=4,
                num_heads=6,
                pad_token_id=PAD,
                eos_token_id=END,
            )
        ).eval()
        self.model.to(device)
        self.model.generation_config.decoder_start_token_id = PAD
        self.trie = Trie(ids).to(device)
        self.codes = codes
        self.item_of = {tuple(row): item for item, row in enumerate(self.tokens.tolist())}
        self.after: dict[tuple[int, ...], list[int]] = {}
        for row in self.item_of:
            for level in range(self.levels):
                self.after.setdefault(row[:level], []).append(row[level])
        self.after = {prefix: sorted(set(following)) for prefix, following in self.after.items()}

    def loss(self, histories: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the targets' codes.

        Args:
            histories: item_idx, padded on the left with -1, int64 [batch, length].
            targets: item_idx, int64 [batch].
        """
        tokens, mask = self._encode(histories)
        codes = self.tokens[targets]
        before = torch.cat([torch.full_like(codes[:, :1], PAD), codes[:, :-1]], dim=1)  # PAD starts the decoder
        return self.model(input_ids=tokens, attention_mask=mask, decoder_input_ids=before, labels=codes).loss

    def _encode(self, histories: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and attention mask, int64 [batch, length * levels] each."""
        real = (histories >= 0)[:, :, None].expand(-1, -1, self.levels)
        tokens = torch.where(real, self.tokens[histories.clamp_min(0)], PAD)
        return tokens.flatten(1), real.flatten(1).long()

    @torch.no_grad()
    def generate(self, histories: torch.Tensor, beams: int, k: int, tensors: bool) -> torch.Tensor:
        """Search.

        Args:
            histories: item_idx, padded on the left with -1, int64 [users, length].
            beams: Beam width.
            k: Items wanted.
            tensors: Whether the trie of tensors says what is allowed.

        Returns:
            item_idx, int64 [users, k]; -1 where something was generated that is no item.
        """
        tokens, mask = self._encode(histories)
        told = (
            {"logits_processor": LogitsProcessorList([TrieMask(self.trie, self.codes)])}
            if tensors
            else {"prefix_allowed_tokens_fn": lambda _, sent: self.after.get(tuple(sent[1:].tolist()), [END])}
        )
        found = self.model.generate(
            input_ids=tokens,
            attention_mask=mask,
            num_beams=beams,
            num_return_sequences=k,
            max_new_tokens=self.levels,
            do_sample=False,
            **told,
        )
        items = [self.item_of.get(tuple(row), -1) for row in found[:, 1 : 1 + self.levels].tolist()]
        return torch.tensor(items).view(len(histories), k)
