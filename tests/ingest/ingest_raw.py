"""Raw files for the tests of ingest: small, dirty where asked for, in the formats of the real thing."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bbqrec_core.profile import Profile, load_profile
from bbqrec_core.stage import StageContext

NAME = "Secret Reviewer Name"
REVIEW = "a secret review text"
SUMMARY = "a secret summary"


def review(user: str, item: str, time: int, rating: float = 5.0, **more: Any) -> dict[str, Any]:
    row = {
        "overall": rating,
        "verified": True,
        "reviewTime": "06 17, 2018",
        "reviewerID": user,
        "asin": item,
        "reviewerName": NAME,
        "reviewText": REVIEW,
        "summary": SUMMARY,
        "unixReviewTime": time,
    }
    return {**row, **more}


def listing(item: str, **more: Any) -> dict[str, Any]:
    row = {
        "category": ["Toys", "Toys", "Cars &amp; Trucks"],
        "description": ["First.", "Second."],
        "title": f"Toy {item}",
        "brand": "ACME",
        "price": "$12.34",
        "asin": item,
        "imageURL": [],
        "imageURLHighRes": ["https://example.com/a.jpg"],
        "main_cat": "Toys",
    }
    return {**row, **more}


def as_line(row: Any) -> bytes:
    return row if isinstance(row, bytes) else json.dumps(row).encode()


def write_gzip(path: Path, rows: Iterable[Any]) -> Path:
    path.write_bytes(gzip.compress(b"".join(as_line(row) + b"\n" for row in rows), mtime=0))
    return path


def make_profile(raw: Path, **overrides: Any) -> Profile:
    profile = raw / "small.yaml"
    profile.write_text("source: {kind: amazon, reviews: reviews.json.gz, metadata: meta.json.gz}\ningest: {k_user: 1, k_item: 1}\n")
    overrides.setdefault("compute", {"threads": 1})
    source = {"raw": str(raw), **overrides.pop("source", {})}
    return load_profile(str(profile), {**overrides, "source": source})


def context(tmp_path: Path, profile: Profile, name: str = "out", **inputs: Path) -> StageContext:
    out, scratch = tmp_path / name, tmp_path / f"{name}-scratch"
    out.mkdir()
    scratch.mkdir(exist_ok=True)
    return StageContext(profile, inputs, out, scratch)
