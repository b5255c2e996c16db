"""TIGER's T5 in benchmarks: with random weights, and told what may follow by one Python call per beam and step, as public code does it."""

from collections.abc import Callable, Mapping

import torch

from bbqrec_core.baselines.tiger import END, TigerModel

T5, T5_WITH_OUR_TRIE = "T5 generate, prefix_allowed_tokens_fn", "T5 generate, our trie of tensors"
"""What the two ways to search are called in reports."""


def make_peer(ids: torch.Tensor, seed: int, device: str = "cpu") -> TigerModel:
    """A T5 over some IDs, int64 [n_items, levels], with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return TigerModel(ids).eval().to(device)


def allowed_by_prefix(model: TigerModel) -> Callable[[int, torch.Tensor], list[int]]:
    """A `prefix_allowed_tokens_fn` over a dictionary of all prefixes of the catalogue's IDs."""
    after: dict[tuple[int, ...], set[int]] = {}
    for row in model.tokens.tolist():
        for level in range(model.levels):
            after.setdefault(tuple(row[:level]), set()).add(row[level])
    following = {prefix: sorted(tokens) for prefix, tokens in after.items()}
    return lambda _, sent: following.get(tuple(sent[1:].tolist()), [END])


def generate(
    model: TigerModel, histories: torch.Tensor, beams: int, k: int, allowed: Callable[[int, torch.Tensor], list[int]] | None = None
) -> torch.Tensor:
    """Search.

    Args:
        model: Its IDs are distinct.
        histories: item_idx, padded on the left with -1, int64 [users, length].
        beams: Beam width.
        k: Items wanted.
        allowed: From `allowed_by_prefix`; None = a trie of tensors says what may follow.

    Returns:
        item_idx, int64 [users, k]; -1 where something was generated that is no item.
    """
    told = {} if allowed is None else {"prefix_allowed_tokens_fn": allowed}
    tokens, _ = model.generate(histories, beams, **told)
    return model.items_of(tokens[:, :k])[..., 0]


def beside_t5(rates: Mapping[str, float]) -> str:
    """Users a second of each, `T5` among them, as a Markdown table."""
    lines = ["| | users/s | times T5 generate |", "| --- | ---: | ---: |"]
    return "\n".join([*lines, *(f"| {name} | {rate:,.1f} | {rate / rates[T5]:,.1f} |" for name, rate in rates.items())])
