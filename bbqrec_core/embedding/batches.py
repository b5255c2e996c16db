"""Encodes rows in shards that survive a crash, and halves batches that do not fit into memory.

What is encoded, and by what, is given as functions: nothing here knows of texts, pictures or models.
"""

import gc
import hashlib
import logging
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bbqrec_core.errors import StageError
from bbqrec_core.progress import track

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """Some consecutive rows, encoded.

    Attributes:
        vectors: float16 [rows, d], of unit length; zeros where absent.
        present: bool [rows].
        unreadable: Rows that should have been present and could not be read.
    """

    vectors: np.ndarray
    present: np.ndarray
    unreadable: int = 0

    def __len__(self) -> int:
        return len(self.present)


def encode_in_shards(
    keys: list[str], rows_per_shard: int, identity: str, encode: Callable[[int, int], Shard], scratch: Path, what: str
) -> Iterator[Shard]:
    """Encode rows shard by shard, taking over the shards of an interrupted run.

    Args:
        keys: Per row what decides its vector, such as its text or its picture's hash.
        rows_per_shard: Rows per shard; fixed, since it decides which rows share a batch.
        identity: What else decides vectors: the encoder's weights and settings.
        encode: Encodes the rows from start to stop.
        scratch: Where shards are kept; made if need be.
        what: A few words for progress.

    Yields:
        Shards in order. A shard on disk counts only if it is whole and was made of the same rows by the same encoder.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(keys), rows_per_shard)
    for number, start in enumerate(track(starts, what, unit="shards")):
        stop = min(start + rows_per_shard, len(keys))
        key = _key(identity, keys[start:stop])
        path = scratch / f"shard-{number:06d}.npz"
        shard = _read(path, key, stop - start)
        if shard is None:
            shard = encode(start, stop)
            _write(path, key, shard)
        yield shard


@dataclass
class Batches:
    """A batch size that shrinks when memory runs out, and stays small then.

    Attributes:
        size: Rows per batch, at present.
        what: What is being encoded, for messages.
        setting: The profile's key of the batch size, for messages.
    """

    size: int
    what: str
    setting: str
    shrunk: bool = field(default=False, init=False)

    def run(self, encode: Callable[[int], np.ndarray]) -> np.ndarray:
        """Call `encode` with the batch size; on out-of-memory again with half of it.

        Raises:
            StageError: Not even one row fits.
        """
        while True:
            try:
                return encode(self.size)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if self.size == 1:
                    raise StageError(
                        f"Out of memory while encoding {self.what}, even one at a time.", "Use a smaller encoder, or compute.device: cpu."
                    ) from None
            self.size = max(1, self.size // 2)
            self.shrunk = True
            log.warning("out of memory while encoding %s: going on with %s %d", self.what, self.setting, self.size)
            _free_memory()


def out_of_memory(error: BaseException) -> bool:
    """Is this how torch or Python say that memory ran out?"""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in ("out of memory", "can't allocate memory"))
    )


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to unit length, float16 [n, d]; zero rows stay zero, non-finite ones stay so."""
    wide = vectors.astype(np.float32)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(norms > 0, norms, 1.0)).astype(np.float16)


def _key(identity: str, rows: list[str]) -> str:
    digest = hashlib.sha256(identity.encode())
    for row in rows:
        content = row.encode("utf-8", errors="surrogatepass")
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def _read(path: Path, key: str, rows: int) -> Shard | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) != key or len(stored["present"]) != rows or stored["vectors"].dtype != np.float16:
                return None
            return Shard(stored["vectors"], stored["present"], int(stored["unreadable"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        log.warning("a shard left by an interrupted run is damaged and is made again: %s", path.name)
        return None


def _write(path: Path, key: str, shard: Shard) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        np.savez(stream, vectors=shard.vectors, present=shard.present, unreadable=np.int64(shard.unreadable), key=np.str_(key))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
