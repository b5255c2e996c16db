"""What the servers of these tests serve, and settings with little patience."""

import gzip
import io
import random
from typing import Any

from PIL import Image

from bbqrec_core.download.retry import Patience
from bbqrec_core.ingest.config import DownloadConfig

QUICK = Patience(attempts=3, first_wait=0.01)
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>" * 20


def config(**fields: Any) -> DownloadConfig:
    loopback = {"allow_private_addresses": True, "allow_private_pictures": True}
    return DownloadConfig(**{**loopback, "timeout_seconds": 2.0, "attempts": 3, **fields})


def packed(size: int = 50_000, seed: int = 1) -> bytes:
    """A gzip file of about so many bytes."""
    return gzip.compress(random.Random(seed).randbytes(size), mtime=0)


def picture(kind: str = "JPEG", width: int = 32, height: int = 24, color: int = 90) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (color, 60, 30)).save(out, kind)
    return out.getvalue()
