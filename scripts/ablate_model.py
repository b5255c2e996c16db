"""Ablates the sequence model on the TEST part, over seeds: each set of overrides beside the profile as it is and beside strong baselines.

    BBQREC_RAW=/path/to/sequences .venv/bin/bbqrec run instruments_2018 --until prior
    BBQREC_RAW=/path/to/sequences .venv/bin/python scripts/ablate_model.py instruments_2018 \\
      --seeds 3 --without sequence.similarity.sources=[]

The co-occurrence kNN of the stage `prior` serves all; SASRec with codes, the same with the kNN as prior, and the same with content
similarity too, where items have features, are the opponents. All are trained on what the stages up to `prior` made; choices are made on
validation, and the test part is ranked once for each.
Differences are those of seed-averaged NDCG@10 per user to the profile as it is; p is of a paired permutation test, after Holm's correction.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bbqrec_core.baselines.sasrec import code_rows
from bbqrec_core.baselines.sasrec_training import train_sasrec
from bbqrec_core.baselines.with_prior import AND_CONTENT, SasrecWithPrior
from bbqrec_core.dataset import SequenceDataset, load_semantic_ids
from bbqrec_core.determinism import choose_device
from bbqrec_core.evaluation.metrics import expected_ndcg, expected_recall
from bbqrec_core.evaluation.ranking import rank_split, sample_users
from bbqrec_core.evaluation.significance import compare_with
from bbqrec_core.home import home_folder
from bbqrec_core.prior.artifact import load_knn
from bbqrec_core.profile import Profile
from bbqrec_core.recommender import Recommender
from bbqrec_core.sequence.catalogue import load_catalogue
from bbqrec_core.sequence.mixture_fit import Helpers
from bbqrec_core.sequence.recommender import SequenceRecommender
from bbqrec_core.sequence.similarity import similarity_spec
from bbqrec_core.sequence.stage import fit, history_width, load_helpers
from bbqrec_core.store import ArtifactStore
from benchmarks import command
from cli.overrides import parse_overrides
from flows.parameters import resolve
from tasks.plan import make_plan

AS_IT_IS = "BBQRec"
CUT_OFF = 10

PerUser = dict[tuple[bool, str], np.ndarray]
"""By masking and metric a value per test user."""


def main() -> None:
    """Parse, train, print a row whenever a model is done, and the table in the end."""
    parser = command.ablation_parser(__doc__)
    parser.add_argument("--no-sasrec", action="store_true", help="leave the opponents out")
    arguments = parser.parse_args()
    profile = _profile(arguments.profile, arguments.overrides)
    store = ArtifactStore(home_folder())
    inputs = {name: store.require(ref).path for name, ref in make_plan(profile, store)["train"].inputs.items()}
    if profile.compute.threads:
        torch.set_num_threads(profile.compute.threads)
    data = SequenceDataset.load(inputs["ingest"], history_width(profile.sequence, load_helpers(profile.sequence, inputs)))
    found: dict[str, list[PerUser]] = {}
    for name, measured in _measure(arguments, inputs, data):
        found.setdefault(name, []).append(measured)
        shown = ", ".join(f"{'masked' if key[0] else 'unmasked'} {key[1]} {values.mean():.4f}" for key, values in measured.items())
        print(f"seed {len(found[name])}, {name}: {shown}", flush=True)
    print(table(found, profile.seed))


def _profile(name: str, overrides: list[str], seed: int | None = None) -> Profile:
    fields = [*overrides, *([] if seed is None else [f"seed={seed}"])]
    return resolve(name, parse_overrides(fields))


def _measure(arguments: argparse.Namespace, inputs: dict[str, Path], data: SequenceDataset) -> Iterator[tuple[str, PerUser]]:
    """One model after the other: its name and what it makes of the test part."""
    knn = load_knn(inputs["prior"])
    yield knn.name, _rank(knn, data)
    codes = code_rows(load_semantic_ids(inputs["quantize"]))
    for seed in range(1, arguments.seeds + 1):
        profile = _profile(arguments.profile, arguments.overrides, seed)
        for ablation in ("", *arguments.without):
            changed = _profile(arguments.profile, [*arguments.overrides, *ablation.split()], seed)
            ours = _train(changed, inputs, data)
            yield ablation or AS_IT_IS, _rank(ours, data)
            if not ablation and ours.has_helpers:
                yield "without prior", _rank(ours.without_prior(), data)
        if not arguments.no_sasrec:
            section = profile.baselines
            device = str(choose_device(profile.compute.device))
            sasrec, _ = train_sasrec(data, section.sasrec, profile.baseline_history, seed, device, codes=codes)
            yield sasrec.name, _rank(sasrec, data)
            valid = sample_users(data.valid, section.sasrec.mixture_users, seed)
            helpers = load_helpers(profile.sequence, inputs)
            for vectors in (None,) if helpers.vectors is None else (None, helpers.vectors):
                mixed = SasrecWithPrior.fit(sasrec, Helpers(knn, vectors, profile.baseline_history), valid)
                # Where the fit turns content down it is the one without, again; its row is a mean over all seeds all the same.
                yield f"{sasrec.name} and prior{'' if vectors is None else AND_CONTENT}", _rank(mixed, data)


def _train(profile: Profile, inputs: dict[str, Path], data: SequenceDataset) -> SequenceRecommender:
    catalogue = load_catalogue(inputs["quantize"], data.train_counts)
    similarity = similarity_spec(profile.sequence.similarity, catalogue, profile.seed)
    with tempfile.TemporaryDirectory() as scratch:
        made = fit(profile, data, catalogue, similarity, load_helpers(profile.sequence, inputs), Path(scratch))
    return SequenceRecommender(made.trained)


def _rank(recommender: Recommender, data: SequenceDataset) -> PerUser:
    measured: PerUser = {}
    for masked, ranking in rank_split(recommender, data.test).items():
        measured[masked, "NDCG@10"] = expected_ndcg(ranking.ranks.above, ranking.ranks.tied, CUT_OFF)
        measured[masked, "Recall@10"] = expected_recall(ranking.ranks.above, ranking.ranks.tied, CUT_OFF)
    return measured


def table(found: dict[str, list[PerUser]], seed: int) -> str:
    """Means over seeds as Markdown, each row beside the profile as it is.

    Args:
        found: By name one entry per seed.
        seed: Of the permutations.
    """
    headline = (True, "NDCG@10")
    means = {name: {key: np.mean([run[key] for run in runs], axis=0) for key in runs[0]} for name, runs in found.items()}
    compared = compare_with(AS_IT_IS, {name: measured[headline] for name, measured in means.items()}, seed)
    lines = ["| model | masked | unmasked | difference, masked NDCG@10 | p |", "| --- | --- | --- | --- | --- |"]
    for name, measured in means.items():
        pairs = [f"{measured[masked, 'NDCG@10'].mean():.4f} / {measured[masked, 'Recall@10'].mean():.4f}" for masked in (True, False)]
        beside = "| | |" if name == AS_IT_IS else "| {:+.4f} | {:.4f} |".format(*compared[name])
        lines.append(f"| {name} | {pairs[0]} | {pairs[1]} {beside}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
