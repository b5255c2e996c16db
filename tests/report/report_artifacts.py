"""Artifacts of an invented run: small, conforming to the schemas, awkward where real ones can be."""

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bbqrec_core import schema
from bbqrec_core.evaluation.metrics import per_user_metrics
from bbqrec_core.evaluation.significance import bootstrap_intervals
from bbqrec_core.profile import Profile, load_profile
from bbqrec_core.stage import StageContext

N_ITEMS = 40
N_USERS = 60
HOSTILE = '<script>alert("x")</script><img src="http://evil.example/p.png" onerror=alert(1)>'
MODELS = {"BBQRec": 1.0, "SASRec": 0.9, "co-occurrence kNN": 0.8, "popularity": 0.4}
REFITTED = {"BBQRec refitted": 3.0, "co-occurrence kNN refitted": 2.5}


@dataclass
class Run:
    """Directories of an invented run, and what is in them."""

    root: Path
    folders: dict[str, Path] = field(default_factory=dict)

    def folder(self, stage: str) -> Path:
        if stage not in self.folders:
            self.folders[stage] = self.root / stage / hashlib.sha256(stage.encode()).hexdigest()[:24]
            self.folders[stage].mkdir(parents=True)
        return self.folders[stage]

    def write(self, stage: str, name: str, rows: list[dict[str, Any]], table_schema: pa.Schema | None = None) -> None:
        pq.write_table(pa.Table.from_pylist(rows, table_schema), self.folder(stage) / name)

    def write_json(self, stage: str, name: str, content: Any) -> None:
        (self.folder(stage) / name).write_text(json.dumps(content), encoding="utf-8")

    def read(self, stage: str, name: str) -> list[dict[str, Any]]:
        return pq.read_table(self.folder(stage) / name).to_pylist()

    def remove(self, stage: str, name: str) -> None:
        (self.folder(stage) / name).unlink()

    def finish(self) -> "Run":
        """Write the manifests; what hangs on clocks and machines in them must not show in the report."""
        for stage, folder in self.folders.items():
            files = {path.name: {"bytes": path.stat().st_size} for path in sorted(folder.rglob("*")) if path.is_file()}
            self.write_json(
                stage,
                "manifest.json",
                {"stage": stage, "fingerprint": folder.name, "inputs": {"ingest": "abc"}, "seconds": 12.345, "files": files},
            )
        return self

    def context(self, out: Path, profile: Profile | None = None) -> StageContext:
        out.mkdir(parents=True, exist_ok=True)
        scratch = out.parent / f"{out.name}-scratch"
        scratch.mkdir(exist_ok=True)
        return StageContext(profile or load_profile("demo"), dict(self.folders), out, scratch)


def make_run(root: Path) -> Run:
    """A whole run with everything that is optional: made once, then copied."""
    made = _made_once()
    shutil.copytree(made.root, root)
    return Run(root, {stage: root / folder.relative_to(made.root) for stage, folder in made.folders.items()})


@functools.cache
def _made_once() -> Run:
    root = Path(tempfile.mkdtemp(prefix="bbqrec-report-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    run, rng = Run(root), np.random.default_rng(1)
    images = _write_shop(run, rng)
    histories = [rng.choice(N_ITEMS, size=rng.integers(5, 12), replace=False).tolist() for _ in range(N_USERS)]
    _write_ingest(run, histories, images)
    _write_embed(run, images)
    _write_quantize(run, rng)
    _write_training(run, rng)
    _write_evaluate(run, rng, histories)
    _write_gates(run)
    return run.finish()


def _write_shop(run: Run, rng: np.random.Generator) -> dict[int, str]:
    folder = run.folder("shop") / "images"
    folder.mkdir()
    for name in ("reviews.json.gz", "meta.json.gz"):
        (run.folder("shop") / name).write_bytes(b"")
    images = {}
    for item in range(0, N_ITEMS, 2):
        picture = rng.integers(0, 255, size=(40, 60, 3), dtype=np.uint8)
        images[item] = f"B{item:04d}.jpg"
        Image.fromarray(picture).resize((120, 80)).save(folder / images[item])
    return images


def _write_ingest(run: Run, histories: list[list[int]], images: dict[int, str]) -> None:
    counts = np.bincount([item for history in histories for item in history[:-2]], minlength=N_ITEMS)
    titles: list[str | None] = [f"Item {item} & its “very” long title, " + "word " * (item % 30) for item in range(N_ITEMS)]
    titles[3], titles[4] = None, HOSTILE
    items = []
    for item in range(N_ITEMS):
        file = images.get(item)
        digest = hashlib.sha256((run.folder("shop") / "images" / file).read_bytes()).hexdigest() if file else None
        row = {"item_idx": item, "item_id": f"B{item:04d}", "title": titles[item], "brand": "Brand <b>" if item % 3 else None}
        items.append(row | {"image_file": file, "image_sha256": digest, "train_count": int(counts[item])})
    run.write("ingest", "items.parquet", items, schema.ITEMS)
    rows = [
        {"user_idx": user, "item_idx": item, "user_id": f"U{user}", "item_id": f"B{item:04d}", "rating": 5.0, "position": place}
        | {"timestamp": 1_500_000_000 + 86_400 * (user + place), "part": part_of(place, len(history))}
        for user, history in enumerate(histories)
        for place, item in enumerate(history)
    ]
    run.write("ingest", "interactions.parquet", rows, schema.INTERACTIONS)
    rejects = [{"file": "reviews.json.gz", "line": 7, "byte": 100, "reason": "no JSON", "sha256": "0" * 64, "text": None}] * 4
    rejects += [{"file": "images/B0001.jpg", "line": None, "byte": None, "reason": "image: damaged", "sha256": "1" * 64, "text": None}]
    run.write("ingest", "rejects.parquet", rejects, schema.REJECTS)
    run.write(
        "ingest",
        "kcore_rounds.parquet",
        [
            {"round": 0, "interactions": len(rows) + 31, "users": 70, "items": 50},
            {"round": 1, "interactions": len(rows), "users": 60, "items": 40},
        ],
    )
    files = [
        {
            "file": "reviews.json.gz",
            "content": "interactions",
            "format": "Amazon 2018 reviews, JSON",
            "lines": len(rows) + 40,
            "rejected": 4,
        },
        {"file": "meta.json.gz", "content": "items", "format": "Amazon 2018 metadata, JSON", "lines": N_ITEMS + 10, "rejected": 0},
    ]
    files = [file | {"number": number, "folded": 0, "damage": None} for number, file in enumerate(files)]
    run.write("ingest", "files.parquet", files, schema.FILES)
    cleaning = [
        ("price", "range", 3),
        ("title", "whitespace", 2),
        ("title", "tags", 7),
        ("brand", "unheard_of", 1),
        ("price", "number", 36),
    ]
    run.write("ingest", "cleaning.parquet", [dict(zip(schema.CLEANING.names, row, strict=True)) for row in cleaning], schema.CLEANING)
    run.write("ingest", "statistics.parquet", [_ingest_statistics(rows, items)])


def part_of(place: int, length: int) -> str:
    """Leave-one-out."""
    return {length - 1: "test", length - 2: "valid"}.get(place, "train")


def _ingest_statistics(rows: list[dict[str, Any]], items: list[dict[str, Any]]) -> dict[str, Any]:
    train_counts = {item["item_idx"]: item["train_count"] for item in items}
    targets = {part: [row["item_idx"] for row in rows if row["part"] == part] for part in ("valid", "test")}
    counted = {
        "files_read": 2,
        "files_damaged": 0,
        "partial": False,
        "damage": None,
        "lines_read": len(rows) + 31 + 5 + 4,
        "duplicates": 5,
        "filtered": 31,
        "filtered_by_rating": 0,
        "filtered_by_kcore": 31,
        "lines_rejected": 4,
        "reject_reasons": "no JSON (4 lines)",
        "accounting_difference": 0,
        "metadata_items": N_ITEMS + 10,
        "tied_target_share": 0.125,
        "interactions": len(rows),
        "nothing": None,
    }
    split = {f"{part}_rows": N_USERS for part in ("train", "valid", "test")}
    split |= {f"cold_{part}": sum(train_counts[item] == 0 for item in found) for part, found in targets.items()}
    split |= {"train_interactions": len(rows) - 2 * N_USERS, "users_train_only": 0, "users_without_history": 0, "misplaced_interactions": 0}
    shares = {"title_share": 1 - 1 / N_ITEMS, "text_share": 1.0, "image_share": 0.5, "price_share": 0.25}
    return counted | split | shares | {"has_times": True, "valid_from": None, "test_from": None, "days": 70.0}


def _write_embed(run: Run, images: dict[int, str]) -> None:
    for modality, dimensions in (("text", 8), ("image", 4)):
        rows = [
            {"item_idx": item, "embedding": [0.5] * dimensions, f"has_{modality}": modality == "text" or item in images}
            for item in range(N_ITEMS)
        ]
        run.write("embed", f"{modality}_embedding.parquet", rows, schema.embedding_schema(modality, dimensions))
    facts = {
        "text": {"name": "all-MiniLM-L6-v2", "dimensions": 8, "is_demo_encoder": False, "weights_sha256": "ab" * 32},
        "image": {"name": "/home/someone/models/demo-clip", "dimensions": 4, "is_demo_encoder": True, "weights_sha256": "cd" * 32},
    }
    run.write_json("embed", "encoders.json", facts)
    run.write("embed", "statistics.parquet", [{"items": N_ITEMS, "image_share": 0.5, "text_model": "/home/someone/models/mini"}])


def _write_quantize(run: Run, rng: np.random.Generator) -> None:
    usage, health = [], []
    for source in ("image", "fused", "text"):  # not in the order of the page
        for level in (1, 2, 3):
            items = rng.multinomial(N_ITEMS, rng.dirichlet(np.full(16, 0.4)))
            usage += [{"source": source, "level": level, "code": code, "items": int(number)} for code, number in enumerate(items)]
            health.append({"source": source, "level": level, "name": "used_codes", "value": float((items > 0).sum())})
            health.append({"source": source, "level": level, "name": "perplexity", "value": float(rng.uniform(3, 16))})
    for name, value in (("collision_share_before_repair", 0.1), ("collision_share_after_repair", 0.0)):
        health.append({"source": "fused", "level": 0, "name": name, "value": value})
    run.write("quantize", "usage.parquet", usage, schema.USAGE)
    run.write("quantize", "codebook_health.parquet", health, schema.HEALTH)
    curve = [
        {"step": step, "name": f"train/{name}", "value": float(np.exp(-step / 9) + rng.normal() / 90)}
        for name in ("reconstruction", "commitment", "shared_variance")
        for step in range(1, 41)
    ]
    run.write("quantize", "curve.parquet", curve, schema.CURVE)
    statistics = {
        "distinct_ids": N_ITEMS,
        "items": N_ITEMS,
        "collision_share_before": 0.1,
        "collision_share": 0.0,
        "codebook_sizes": "16,16,16",
    }
    run.write("quantize", "statistics.parquet", [statistics])


def _write_training(run: Run, rng: np.random.Generator) -> None:
    def curve(prefix: str, top: float) -> list[dict[str, Any]]:
        rows = []
        for step in range(1, 26):
            rows.append({"step": step, "name": f"{prefix}train/loss", "value": 3 + 3 * float(np.exp(-step / 6))})
            rows.append(
                {"step": step, "name": f"{prefix}valid/ndcg_at_10", "value": top * float(1 - np.exp(-step / 7)) + rng.normal() / 500}
            )
        return rows

    run.write("train", "curve.parquet", curve("", 0.3), schema.CURVE)
    trials = [{"step": step, "name": "co_occurrence/valid/ndcg_at_10", "value": float(rng.uniform(0.2, 0.27))} for step in range(1, 31)]
    run.write("prior", "curve.parquet", trials, schema.CURVE)
    run.write("baselines", "curve.parquet", curve("sasrec/", 0.28), schema.CURVE)
    run.write("refit", "curve.parquet", [{"step": step, "name": "train/loss", "value": 5.0 / step} for step in (1, 2, 3)], schema.CURVE)
    weights = [
        {"layer": layer, "head": head, "source": source, "bucket": bucket, "weight": float(rng.normal() / 5)}
        | {"train_share": (bucket + 1) / 15, "label": "same item" if bucket == 4 else f"{bucket / 4:.3f} to {bucket / 4 + 0.25:.3f}"}
        for layer in range(2)
        for head in range(2)
        for source in ("text", "image")
        for bucket in range(5)
    ]
    run.write("train", "attention_bias.parquet", weights, schema.SIMILARITY_WEIGHTS)
    run.write("train", "statistics.parquet", [{"epochs_run": 25, "valid_ndcg_at_10": 0.29}])
    run.write("baselines", "statistics.parquet", [{"models": "popularity, co-occurrence kNN, SASRec"}])


def _write_evaluate(run: Run, rng: np.random.Generator, histories: list[list[int]]) -> None:
    metrics, ranks = [], []
    for model, skill in {**MODELS, **REFITTED}.items():
        for split in ("test",) if model in REFITTED else ("valid", "test"):
            for masked in (True, False):
                above = np.minimum(rng.geometric(0.1 + 0.15 * skill, size=N_USERS) - 1, N_ITEMS - 3)
                tied = (rng.random(N_USERS) < 0.1).astype(int)
                values = per_user_metrics(above, tied, (1, 5, 10, 20))
                low, high = bootstrap_intervals(np.stack(list(values.values())), 3)
                for place, (metric, per_user) in enumerate(values.items()):
                    row = {"model": model, "split": split, "masked": masked, "metric": metric, "value": float(per_user.mean())}
                    metrics.append(row | {"low": float(low[place]), "high": float(high[place])})
                row = {"model": model, "split": split, "masked": masked, "metric": "coverage_at_10", "value": 0.1 + 0.5 * skill}
                metrics.append(row | {"low": None, "high": None})
                if split == "test":
                    ranks += [
                        {"model": model, "masked": masked, "user_idx": user, "above": int(above[user]), "tied": int(tied[user])}
                        for user in range(N_USERS)
                    ]
    run.write("evaluate", "metrics.parquet", metrics, schema.METRICS)
    run.write("evaluate", "ranks.parquet", ranks, schema.RANKS)
    comparisons = [
        {"model": "BBQRec", "baseline": model, "metric": "ndcg_at_10", "masked": True, "users": N_USERS}
        | {"difference": 0.01 * place, "low": 0.01 * place - 0.02, "high": 0.01 * place + 0.025, "p": 0.2 / place, "p_holm": 0.31 / place}
        for place, model in enumerate([model for model in MODELS if model != "BBQRec"], start=1)
    ]
    run.write("evaluate", "comparisons.parquet", comparisons, schema.COMPARISONS)
    examples = []
    for user in (5, 2, 9):
        target = histories[user][-1]
        for place, model in enumerate(MODELS):
            others = [item for item in rng.permutation(N_ITEMS).tolist() if item != target]
            recommended = [*others[:3], target, *others[3:9]] if place == 0 else [*others[:8], -1]
            if user == 2:
                recommended[0] = 4  # the hostile title
            examples.append(
                {"user_idx": user, "history": histories[user][:-1], "target": target, "model": model, "recommended": recommended}
            )
    run.write("evaluate", "examples.parquet", examples, schema.EXAMPLES)
    run.write("evaluate", "statistics.parquet", [{"users_evaluated": N_USERS, "ndcg_at_10": 0.3}])


def _write_gates(run: Run) -> None:
    record = {
        "code": "ING-001",
        "severity": "critical",
        "column": "accounting_difference",
        "low": 0,
        "high": 0,
        "why": "Every line counts.",
    }
    warning = {
        "code": "ING-007",
        "severity": "warning",
        "column": "image_share",
        "low": 0.9,
        "high": 1,
        "why": "Fewer pictures than expected.",
    }
    run.write_json(
        "gate_ingest",
        "result.json",
        [record | {"observed": 0, "outcome": "passed", "detail": ""}, warning | {"observed": 0.5, "outcome": "failed", "detail": ""}],
    )
