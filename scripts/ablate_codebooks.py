"""Ablates the tokenizer: with each set of overrides codes are learned anew, and judged by their health and by the fixed sequence model.

    BBQREC_RAW=/path/to/sequences .venv/bin/python scripts/ablate_codebooks.py instruments_2018 \\
      --without quantization.shared_variance_weight=0

Judges are those of `make bench-quantize`, on the test part unless --split says otherwise: NDCG@10 of one small sequence model that knows
items by their IDs alone. Settings are to be chosen with --split valid. Beside it stands what a probe foretells of b from s. Differences are
those of seed-averaged NDCG@10 per user to the profile as it is; p is of a paired permutation test, after Holm's correction. Each row is
printed as soon as it is there.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bbqrec_core.dataset import EvalSplit
from bbqrec_core.determinism import choose_device, deterministic
from bbqrec_core.evaluation.significance import compare_with
from bbqrec_core.home import home_folder
from bbqrec_core.profile import Profile
from bbqrec_core.store import ArtifactStore
from benchmarks import command
from benchmarks.codebooks.catalogue import Catalogue, load_catalogue
from benchmarks.codebooks.fixed_model import Recipe
from benchmarks.codebooks.quality import Measured, measure
from cli.overrides import parse_overrides
from flows.parameters import resolve

AS_IT_IS = "as it is"
HEADS = "| | carried | s to b, R2 | collisions | perplexity, level 1 | largest code | LCP difference | LCP ratio | NDCG@10 |"


def main() -> None:
    """Parse, train, print."""
    parser = command.ablation_parser(__doc__)
    parser.add_argument("--split", choices=("test", "valid"), default="test", help="whom the model ranks for (default: %(default)s)")
    arguments = parser.parse_args()
    profile = resolve(arguments.profile, parse_overrides(arguments.overrides))
    catalogue = load_catalogue(profile, ArtifactStore(home_folder()), Recipe.max_history)
    ranked = catalogue.dataset.valid if arguments.split == "valid" else catalogue.dataset.test
    found: dict[str, list[Measured]] = {}
    print(HEADS + "\n" + "| --- " * (HEADS.count("|") - 1) + "|", flush=True)
    with deterministic(profile.compute.threads):
        for ablation in ("", *arguments.without):
            name = ablation or AS_IT_IS
            found[name] = [
                _measure(catalogue, resolve(arguments.profile, parse_overrides([*arguments.overrides, *ablation.split()])), ranked, seed)
                for seed in range(profile.seed, profile.seed + arguments.seeds)
            ]
            print(_row(name, found[name]), flush=True)
    ndcg = {name: np.mean([run.ndcg for run in runs], axis=0) for name, runs in found.items()}
    print("\n| | difference of NDCG@10 | p |\n| --- | --- | --- |")
    for name, (difference, p) in compare_with(AS_IT_IS, ndcg, profile.seed).items():
        print(f"| {name} | {difference:+.4f} | {p:.4f} |")


def _measure(catalogue: Catalogue, profile: Profile, ranked: EvalSplit, seed: int) -> Measured:
    changed = replace(catalogue, profile=profile)
    return measure(profile.quantization.tokenizer, changed, ranked, Recipe(), seed, choose_device(profile.compute.device))


def _row(name: str, runs: Sequence[Measured]) -> str:
    lcp = [run.lcp for run in runs if run.lcp is not None]
    cells = [
        _by_modality([run.carried for run in runs]),
        _by_modality([run.shared for run in runs]),
        f"{np.mean([run.collisions for run in runs]):.2%}",
        f"{np.mean([run.perplexity_share for run in runs]):.0%}",
        f"{np.mean([run.largest_share for run in runs]):.1%}",
        f"{np.mean([found.difference for found in lcp]):.3f}" if lcp else "no pair",
        f"{np.mean([found.ratio for found in lcp]):.2f}" if lcp else "no pair",
        f"{np.mean([run.ndcg.mean() for run in runs]):.4f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _by_modality(values: Sequence[dict[str, float]]) -> str:
    return ", ".join(f"{name} {np.mean([run[name] for run in values]):.3f}" for name in values[0]) or "-"


if __name__ == "__main__":
    main()
