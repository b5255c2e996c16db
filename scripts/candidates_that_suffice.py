"""Tables how often ranks among candidates are not those of full ranking: on how many candidates must a mix be fitted?

    .venv/bin/python scripts/candidates_that_suffice.py

Two sources of normal scores, mixed half and half, propose their first items each; the target is one of the mix's first forty or so.
The less the sources agree, the more often an item that neither puts first stands first in the mix.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from bbqrec_core.evaluation.metrics import expected_ndcg
from bbqrec_core.sequence.evidence import TOP, candidates_of

CUT_OFF = 10
MEAN_RANK = 8.0


def main() -> None:
    """Parse, rank, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[12_000, 50_000, 200_000, 1_000_000], help="sizes of catalogues")
    parser.add_argument("--correlations", type=float, nargs="+", default=[0.0, 0.25, 0.5], help="of the two sources' scores")
    parser.add_argument("--users", type=int, default=150)
    arguments = parser.parse_args()
    print("| items | correlation | candidates of a source | NDCG@10 among them | by full ranking | users that differ |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for n_items in arguments.items:
        for correlation in arguments.correlations:
            for most in dict.fromkeys((TOP, candidates_of(n_items))):
                among, full = (
                    expected_ndcg(np.array(ranks), np.zeros(arguments.users, dtype=np.int64), CUT_OFF)
                    for ranks in zip(*_ranks(n_items, correlation, most, arguments.users), strict=True)
                )
                differ = np.mean(among != full)
                print(f"| {n_items:,} | {correlation:g} | {most} | {among.mean():.3f} | {full.mean():.3f} | {differ:.1%} |", flush=True)


def _ranks(n_items: int, correlation: float, most: int, users: int) -> Iterator[tuple[int, int]]:
    """Of each user's target: how many are above it among the candidates, and of all."""
    rng = np.random.default_rng(0)
    for _ in range(users):
        one, other = rng.standard_normal((2, n_items))
        other = correlation * one + np.sqrt(1 - correlation**2) * other
        mixed = one + other
        target = np.argsort(-mixed)[min(n_items - 1, int(rng.exponential(MEAN_RANK)))]
        candidates = np.unique(np.concatenate([np.argpartition(-source, most)[:most] for source in (one, other)]))
        above = mixed > mixed[target]
        yield int(above[candidates].sum()), int(above.sum())


if __name__ == "__main__":
    main()
