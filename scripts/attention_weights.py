"""Tables what similarity reweighting learned: does attention follow quantized similarity? Over the models that a profile's runs left.

    BBQREC_RAW=/path/to/sequences .venv/bin/bbqrec leaderboard research
    BBQREC_RAW=/path/to/sequences .venv/bin/python scripts/attention_weights.py instruments_2018 --seeds 1 2 3 4 5 --set data_seed=2026

What is added to attention scores by bucket of similarity, relative to a source's first bucket (nothing in common): mean over heads and
seeds, in brackets the lowest and highest; and how many of the pairs in train windows lie in the bucket.
"""

import argparse

import polars as pl

from bbqrec_core.home import home_folder
from bbqrec_core.store import ArtifactStore
from cli.overrides import parse_overrides
from flows.parameters import resolve
from tasks.plan import make_plan


def main() -> None:
    """Parse, read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="an override, as `bbqrec run --set`")
    parser.add_argument("--seeds", type=int, nargs="+", help="whose models (default: the profile's)")
    arguments = parser.parse_args()
    seeds = arguments.seeds or [resolve(arguments.profile, parse_overrides(arguments.overrides)).seed]
    print(table(pl.concat([_weights(arguments.profile, arguments.overrides, seed) for seed in seeds])))


def _weights(profile: str, overrides: list[str], seed: int) -> pl.DataFrame:
    """A model's learned weights, `bbqrec_core.schema.SIMILARITY_WEIGHTS`, and its seed."""
    store = ArtifactStore(home_folder())
    train = store.require(make_plan(resolve(profile, parse_overrides([*overrides, f"seed={seed}"])), store)["train"].ref).path
    return pl.read_parquet(train / "attention_bias.parquet").with_columns(seed=pl.lit(seed))


def table(weights: pl.DataFrame) -> str:
    """Markdown, a row per source and bucket, a column per layer."""
    ours = ["seed", "layer", "head", "source"]
    nothing = weights.filter(pl.col("bucket") == pl.col("bucket").min().over("source")).select(*ours, zero="weight")
    relative = weights.join(nothing, on=ours).with_columns(weight=pl.col("weight") - pl.col("zero"))
    summed = relative.group_by("source", "bucket", "label", "layer").agg(
        mean=pl.col("weight").mean(), low=pl.col("weight").min(), high=pl.col("weight").max(), share=pl.col("train_share").mean()
    )
    layers = sorted(weights["layer"].unique().to_list())
    lines = [
        f"| source | bucket | {' | '.join(f'layer {layer + 1}' for layer in layers)} | share of pairs |",
        "| --- " * (len(layers) + 3) + "|",
    ]
    for (source, _, label), rows in summed.sort("source", "bucket", "layer").group_by("source", "bucket", "label", maintain_order=True):
        cells = [f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for row in rows.to_dicts()]
        lines.append(f"| {source} | {label} | {' | '.join(cells)} | {rows['share'][0]:.2%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
