"""RQ-VAE with collaborative alignment and diversity: the semantic IDs of LETTER.

Wang et al., Learnable Item Tokenization for Generative Recommendation (LETTER), CIKM 2024, arXiv:2405.07314, section 3.2. On top of `rqvae`

    L = L_RQVAE + alpha L_CF + beta L_div
    L_CF  = -mean_i log softmax_j(<q_i, h_j>)[i],   j over the batch, h a collaborative embedding
    L_div = -mean_{l,i} log softmax_{k != c}(<C_l[c], C_l[k]>)[p],   c = c_l(i), p another code of c's cluster, drawn anew each time

with the codes of a level clustered by constrained k-means before each epoch. h is the SVD of train-only shifted PPMI that BBQRec's own z
starts from (LETTER: a SASRec's item embeddings, trained on what its authors' script names); items without any are left out of L_CF.
Sizes of clusters keep between half and twice the mean, by a greedy assignment (the authors': 10 to 60 of 256 codes, by minimal-cost
flow). The authors' code starts the codebooks from all items, as the default here does, and spreads the last level by Sinkhorn
iterations, in whose place collisions are repaired here. The ranking-guided generation loss belongs to LETTER's recommender, not here.
"""

import numpy as np
import torch
from torch.nn import functional as F

from bbqrec_core.quantization.behaviour import behaviour_vectors, cooccurrence, shifted_ppmi, turned_onto
from bbqrec_core.quantization.codebook import Quantized, ResidualQuantizer
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import TrainingData
from bbqrec_core.quantization.kmeans import kmeans_plus_plus
from bbqrec_core.quantization.tokenizers.interface import Earlier, Fitted
from bbqrec_core.quantization.tokenizers.rqvae import made_or_taken_over, train

CLUSTERING_ITERATIONS = 10


def balanced_assignment(distances: np.ndarray, smallest: int, largest: int) -> np.ndarray:
    """Assign points to clusters, nearest pairs first, so that every cluster has between `smallest` and `largest` points.

    Args:
        distances: float [points, clusters]; clusters * smallest <= points <= clusters * largest.
        smallest: First every cluster is filled up to it,
        largest: then what remains goes where there is room.

    Returns:
        int64 [points].
    """
    points, clusters = distances.shape
    labels = np.full(points, -1, dtype=np.int64)
    filled = np.zeros(clusters, dtype=np.int64)
    order = np.argsort(distances, axis=None, kind="stable")
    for room in (smallest, largest):
        for point, cluster in zip(*np.unravel_index(order, distances.shape), strict=True):
            if labels[point] < 0 and filled[cluster] < room:
                labels[point] = cluster
                filled[cluster] += 1
    return labels


def constrained_kmeans(points: np.ndarray, clusters: int, generator: torch.Generator, labels: np.ndarray | None = None) -> np.ndarray:
    """k-means whose clusters hold between half and twice the mean number of points, and at least two.

    Args:
        points: float [n, d], n >= 4.
        clusters: Wanted; at most half as many as points are made.
        generator: CPU generator for a k-means++ start.
        labels: Where to start from instead.

    Returns:
        The cluster of each point, int64 [n].
    """
    n = len(points)
    clusters = min(clusters, n // 2)
    smallest, largest = max(2, n // (2 * clusters)), -(-2 * n // clusters)
    if labels is None:
        centres = kmeans_plus_plus(torch.from_numpy(points), clusters, generator).numpy()
    for iteration in range(CLUSTERING_ITERATIONS):
        if iteration or labels is not None:
            assert labels is not None
            centres = np.stack([points[labels == cluster].mean(0) for cluster in range(clusters)])
        distances = (points**2).sum(1)[:, None] - 2 * points @ centres.T + (centres**2).sum(1)
        previous, labels = labels, balanced_assignment(distances, smallest, largest)
        if previous is not None and np.array_equal(previous, labels):
            break
    assert labels is not None
    return labels


def alignment_loss(quantized: torch.Tensor, behaviour: torch.Tensor) -> torch.Tensor:
    """L_CF of a batch: quantized and behaviour float32 [n, d], row i of one belongs to row i of the other; 0 for fewer than two rows."""
    if len(quantized) < 2:
        return quantized.sum() * 0.0
    return F.cross_entropy(quantized @ behaviour.T, torch.arange(len(quantized), device=quantized.device))


def diversity_loss(codebook: torch.Tensor, codes: torch.Tensor, chosen: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
    """L_div of one level.

    Args:
        codebook: C_l, float32 [K, d].
        codes: c_l, int64 [n].
        chosen: C_l[c_l], float32 [n, d].
        partners: p, int64 [n], never the item's own code.
    """
    own = F.one_hot(codes, len(codebook)).bool()
    return F.cross_entropy((chosen @ codebook.T).masked_fill(own, float("-inf")), partners)


class LetterLosses:
    """L_CF and L_div, weighted, with the codes' clusters of the epoch."""

    def __init__(self, data: TrainingData, config: QuantizationConfig, generator: torch.Generator, device: torch.device) -> None:
        together = cooccurrence(data.offsets, data.items, data.n_items, config.cooccurrence_window)
        vectors, known = behaviour_vectors(shifted_ppmi(together, config.ppmi_shift), config.rqvae.dimensions, generator)
        self.behaviour, self.known = vectors.to(device), known.to(device)
        self.config, self.generator = config.letter, generator
        self.labels: list[np.ndarray | None] = [None] * config.levels

    def begin_epoch(self, quantizer: ResidualQuantizer) -> None:
        """Cluster the codes of every level, from where the last epoch's clusters stood."""
        if self.config.diversity_weight:
            for level, codebook in enumerate(quantizer.codebooks):
                if len(codebook) >= 4:
                    points = codebook.detach().cpu().numpy()
                    self.labels[level] = constrained_kmeans(points, self.config.clusters, self.generator, self.labels[level])

    def losses(self, quantizer: ResidualQuantizer, quantized: Quantized, items: torch.Tensor) -> dict[str, torch.Tensor]:
        """Both losses of a batch; a weight of 0 leaves its loss out."""
        losses = {}
        if self.config.alignment_weight:
            known = self.known[items]
            losses["alignment"] = self.config.alignment_weight * alignment_loss(quantized.vectors[known], self.behaviour[items][known])
        if self.config.diversity_weight:
            terms = []
            for level, labels in enumerate(self.labels):
                if labels is not None:
                    codes = quantized.codes[:, level]
                    partners = self._partners(labels, codes.cpu()).to(codes.device)
                    terms.append(diversity_loss(quantizer.codebooks[level], codes, quantized.chosen[level], partners))
            if terms:
                losses["diversity"] = self.config.diversity_weight * torch.stack(terms).mean()
        return losses

    def _partners(self, labels: np.ndarray, codes: torch.Tensor) -> torch.Tensor:
        """Another code of each code's cluster, int64 [n]; clusters hold at least two."""
        cluster = torch.from_numpy(labels)
        others = (cluster[:, None] == cluster) & ~torch.eye(len(cluster), dtype=torch.bool)
        return torch.multinomial(others[codes].float(), 1, generator=self.generator)[:, 0]


def fit(data: TrainingData, config: QuantizationConfig, seed: int, device: torch.device, earlier: Earlier | None = None) -> Fitted:
    """Fit LETTER's tokenizer, from scratch or from an earlier one.

    h is known up to a rotation only: after a warm start it is turned onto the quantized vectors of the IDs that items had.

    Raises:
        StageError: There are no features.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    tokenizer = made_or_taken_over(data, config, earlier)
    losses = LetterLosses(data, config, generator, device)
    if earlier is not None:
        quantized = tokenizer.network.quantizer.decode(torch.from_numpy(earlier.ids)).to(device)
        losses.behaviour = turned_onto(losses.behaviour, quantized, losses.known & torch.from_numpy(earlier.known).to(device))
    curve = train(tokenizer.network, data, config, config.letter.start, generator, device, losses, "LETTER", warm=earlier is not None)
    return Fitted(tokenizer, curve)
