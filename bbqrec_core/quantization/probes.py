"""Probes: small models fitted after training, judged on items held out, that say what codes and encoders carry.

Nothing learned judges itself: R2 comes from here, not from the decoder, and what s and b share from here, not from the loss that keeps
them apart. A modality that is known by published codes alone has no features whose R2 would say anything: there it is the accuracy of
foretelling those codes.
"""

import itertools

import numpy as np
import torch
from torch.nn import functional as F

from bbqrec_core import schema
from bbqrec_core.quantization.health import Row, cohesion_rows
from bbqrec_core.quantization.model import mlp

MAX_ITEMS = 20_000
"""Probes take at most so many items, drawn with the seed."""
FOLDS = 5
RIDGE = 1.0
MLP_STEPS = 300


def folds(n: int, seed: int) -> np.ndarray:
    """A fold number per item, int64 [n], as even as can be, shuffled with the seed."""
    return np.random.default_rng(seed).permutation(np.arange(n) % FOLDS)


def r2(truth: np.ndarray, predicted: np.ndarray, baseline: np.ndarray) -> float:
    """1 - sum ||truth - predicted||^2 / sum ||truth - baseline||^2; NaN where the baseline is already exact.

    Args:
        truth: float [n, d].
        predicted: float [n, d].
        baseline: float [n, d] or [d], the mean of the items that the predictor was fitted on.
    """
    spread = float(((truth - baseline) ** 2).sum())
    return 1.0 - float(((truth - predicted) ** 2).sum()) / spread if spread > 1e-9 else float("nan")


def r2_from_codes(codes: np.ndarray, sizes: list[int], values: np.ndarray, seed: int) -> list[float]:
    """R2 of features foretold from codes alone, per number of levels, on held-out items.

    Ridge regression (penalty `RIDGE` on all but the intercept) on one-hot codes of levels 1..l, in `FOLDS` folds: every item is
    foretold by a probe that has not seen it.

    Args:
        codes: int64 [n, L].
        sizes: K_1..K_L.
        values: float32 [n, d].
        seed: Draws folds, and items beyond `MAX_ITEMS`.

    Returns:
        One R2 per level; NaN with fewer than 2 * FOLDS items, or where the features are constant.
    """
    n = len(codes)
    if n > MAX_ITEMS:
        chosen = np.sort(np.random.default_rng(seed).choice(n, MAX_ITEMS, replace=False))
        codes, values, n = codes[chosen], values[chosen], MAX_ITEMS
    if n < 2 * FOLDS:
        return [float("nan")] * len(sizes)
    fold = folds(n, seed)
    results = []
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    truth = torch.from_numpy(values).double()
    onehot = torch.zeros(n, int(offsets[-1]), dtype=torch.float64)
    onehot.scatter_(1, torch.from_numpy(codes + offsets[:-1]), 1.0)
    for level in range(1, len(sizes) + 1):
        inputs = onehot[:, : int(offsets[level])]
        predicted, baseline = torch.empty_like(truth), torch.empty_like(truth)
        for number in range(FOLDS):
            fit, held = torch.from_numpy(fold != number), torch.from_numpy(fold == number)
            mean_in, mean_out = inputs[fit].mean(0), truth[fit].mean(0)
            centred = inputs[fit] - mean_in
            gram = centred.T @ centred + RIDGE * torch.eye(centred.shape[1], dtype=torch.float64)
            weights = torch.linalg.solve(gram, centred.T @ (truth[fit] - mean_out))
            predicted[held] = (inputs[held] - mean_in) @ weights + mean_out
            baseline[held] = mean_out
        results.append(r2(truth.numpy(), predicted.numpy(), baseline.numpy()))
    return results


def accuracy_from_codes(codes: np.ndarray, sizes: list[int], published: np.ndarray, seed: int) -> list[float]:
    """Accuracy of foretelling published codes from codes alone, per number of levels, on held-out items.

    A least-squares classifier: ridge regression (penalty `RIDGE` on all but the intercept) of one-hot published codes on one-hot codes of
    levels 1..l, the largest wins, ties go to the lowest code; in `FOLDS` folds, as in `r2_from_codes`. Both sides are one-hot, so its
    products are counts.

    Args:
        codes: int64 [n, L].
        sizes: K_1..K_L.
        published: int64 [n, P]; its levels are foretold apart, and the accuracy is their mean.
        seed: Draws folds, and items beyond `MAX_ITEMS`.

    Returns:
        L + 1 accuracies; the first is without any code, always guessing what is most frequent. NaN with fewer than 2 * FOLDS items.
    """
    n = len(codes)
    if n > MAX_ITEMS:
        chosen = np.sort(np.random.default_rng(seed).choice(n, MAX_ITEMS, replace=False))
        codes, published, n = codes[chosen], published[chosen], MAX_ITEMS
    if n < 2 * FOLDS:
        return [float("nan")] * (len(sizes) + 1)
    fold = folds(n, seed)
    classes = np.stack([np.unique(column, return_inverse=True)[1] for column in published.T], 1)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    heads = np.concatenate([[0], np.cumsum(classes.max(0) + 1)])
    inputs, outputs = codes + starts[:-1], classes + heads[:-1]
    right = np.zeros(len(sizes) + 1)
    for number in range(FOLDS):
        fit, held = fold != number, fold == number
        m = int(fit.sum())
        mean_in = np.bincount(inputs[fit].ravel(), minlength=starts[-1]) / m
        mean_out = np.bincount(outputs[fit].ravel(), minlength=heads[-1]) / m
        gram = _together(inputs[fit], inputs[fit], starts[-1], starts[-1]) - m * np.outer(mean_in, mean_in) + RIDGE * np.eye(starts[-1])
        cross = _together(inputs[fit], outputs[fit], starts[-1], heads[-1]) - m * np.outer(mean_in, mean_out)
        for level in range(len(sizes) + 1):
            scores = np.tile(mean_out, (int(held.sum()), 1))
            if level:
                weights = np.linalg.solve(gram[: starts[level], : starts[level]], cross[: starts[level]])
                scores += weights[inputs[held, :level]].sum(1) - mean_in[: starts[level]] @ weights
            for place, (low, high) in enumerate(itertools.pairwise(heads)):
                right[level] += (scores[:, low:high].argmax(1) == classes[held, place]).sum()
    return [float(value) for value in right / classes.size]


def _together(first: np.ndarray, second: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """How often each pair of one-hot entries stands in the same row of int64 [n, p] and [n, q]: float64 [rows, columns]."""
    keys = (first[:, :, None] * columns + second[:, None, :]).ravel()
    return np.bincount(keys, minlength=rows * columns).reshape(rows, columns).astype(np.float64)


def carried_rows(
    source: str, codes: np.ndarray, sizes: list[int], name: str, values: np.ndarray, published: np.ndarray | None, seed: int
) -> list[Row]:
    """What a source's codes carry of something, per level, and how alike it is within shared prefixes.

    Args:
        source: Whose codes they are.
        codes: int64 [n, L].
        sizes: K_1..K_L.
        name: Of what is to be foretold: a modality, or behaviour where there is none.
        values: Its vectors, float32 [n, d].
        published: Its published codes, int64 [n, P], if there is nothing behind those vectors but them.
        seed: Of the probes.

    Returns:
        `r2_<name>`, or for published codes `accuracy_<name>` and on level 0 `accuracy_<name>_without_codes`; then `prefix_cohesion_<name>`.
    """
    rows: list[Row] = []
    if published is None:
        rows += [(source, level, f"r2_{name}", value) for level, value in enumerate(r2_from_codes(codes, sizes, values, seed), start=1)]
    else:
        without, *accuracies = accuracy_from_codes(codes, sizes, published, seed)
        rows.append((source, 0, f"accuracy_{name}_without_codes", without))
        rows += [(source, level, f"accuracy_{name}", value) for level, value in enumerate(accuracies, start=1)]
    return rows + list(cohesion_rows(source, codes, name, values))


def rows_without_features(
    codes: np.ndarray, sizes: list[int], starts: np.ndarray, behaviour: np.ndarray, behaviour_alone: bool, seed: int
) -> list[Row]:
    """What there is to say where features lack.

    Args:
        codes: Fused codes, int64 [n, L].
        sizes: K_1..K_L.
        starts: f, float32 [n, d]; zero where neither content nor behaviour is known, so that the ID comes from repair alone.
        behaviour: z', float32 [n, d].
        behaviour_alone: Whether no item has any modality; then it is behaviour that codes are asked for.
        seed: Of the probe.

    Returns:
        Nothing where every item has content or behaviour and the catalogue has a modality.
    """
    rows: list[Row] = []
    known = starts.any(axis=1)
    if behaviour_alone:
        rows += carried_rows(schema.FUSED, codes[known], sizes, "behaviour", behaviour[known], None, seed)
    if not known.all():
        rows.append((schema.FUSED, 0, "repair_only_share", float((~known).mean())))
    return rows


def shared_information_r2(specific: np.ndarray, aligned: np.ndarray, seed: int) -> float:
    """How well an MLP foretells b from s on held-out items: the judge of disentangling. About 0 is apart, 1 is the same.

    Args:
        specific: s, float32 [n, s].
        aligned: b, float32 [n, d].
        seed: Draws weights, the held-out fifth, and items beyond `MAX_ITEMS`.
    """
    n = len(specific)
    if n < 2 * FOLDS:
        return float("nan")
    chosen = np.sort(np.random.default_rng(seed).choice(n, min(n, MAX_ITEMS), replace=False))
    held = torch.from_numpy(folds(len(chosen), seed) == 0)
    inputs, outputs = torch.from_numpy(specific[chosen]).float(), torch.from_numpy(aligned[chosen]).float()
    mean, scale = inputs[~held].mean(0), inputs[~held].std(0).clamp_min(1e-6)
    inputs = (inputs - mean) / scale
    baseline = outputs[~held].mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = mlp(inputs.shape[1], 64, outputs.shape[1])
    optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(seed)
    fit_in, fit_out = inputs[~held], outputs[~held] - baseline
    for _ in range(MLP_STEPS):
        rows = torch.randint(len(fit_in), (min(512, len(fit_in)),), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        F.mse_loss(probe(fit_in[rows]), fit_out[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        predicted = probe(inputs[held]) + baseline
    return r2(outputs[held].numpy(), predicted.numpy(), baseline.numpy())
