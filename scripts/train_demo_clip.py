"""Trains the demo encoder that the project ships: a tiny open_clip model on title-picture pairs of synthetic shops.

    python scripts/train_demo_clip.py

Writes `bbqrec_core/embedding/demo_clip/`: architecture and preprocessing (JSON), weights (safetensors, float16), vocabulary (BPE merges).
The shops are made from seeds of its own, none of which is the demo profile's, so that the demo never sees a picture, title or brand that
the encoder was trained on. Deterministic on one machine: one thread, seeded generators. It is a demo encoder: it knows the generator's
drawings and nothing of real pictures.
"""

import argparse
import gzip
import io
import json
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from safetensors.torch import save_file

from bbqrec_core.embedding.demo import CONTEXT_LENGTH, MERGES_FILE, demo_tokenizer
from bbqrec_core.embedding.weights import DEMO_FOLDER, OPEN_CLIP_MARK
from bbqrec_core.ingest.shop.catalogue import make_catalogue
from bbqrec_core.ingest.shop.stage import draw_all, stream
from bbqrec_core.progress import track

SHOP_SEEDS = tuple(range(101, 109))
ITEMS_PER_SHOP = 500
VOCABULARY = 2_048
EPOCHS = 12
BATCH = 100
LEARNING_RATE = 2e-3
SEED = 7
CONFIG = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 10, "head_width": 64, "patch_size": None},
        "text_cfg": {"context_length": CONTEXT_LENGTH, "vocab_size": VOCABULARY, "width": 64, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash",
    },
}  # fmt: skip


def main() -> None:
    """Draw, learn a vocabulary, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEMO_FOLDER, help="folder to write")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    options.out.mkdir(parents=True, exist_ok=True)

    titles, pixels = pairs(SHOP_SEEDS, ITEMS_PER_SHOP)
    write_merges(options.out / MERGES_FILE, titles)
    tokens = demo_tokenizer(options.out)(titles)
    (options.out / OPEN_CLIP_MARK).write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    model = train(tokens, pixels, options.epochs)
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    weights |= {name: tensor for name, tensor in model.state_dict().items() if not tensor.is_floating_point()}
    path = options.out / "open_clip_model.safetensors"
    save_file(weights, path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def pairs(seeds: tuple[int, ...], items: int) -> tuple[list[str], torch.Tensor]:
    """Titles and pictures of some shops: uint8 [n, 3, 64, 64]."""
    titles, pixels = [], []
    size = CONFIG["model_cfg"]["vision_cfg"]["image_size"]  # type: ignore[index]
    for seed in seeds:
        catalogue = make_catalogue(items, stream(seed, "catalogue"))
        drawn = draw_all(catalogue, seed)
        for item in catalogue.items:
            picture = Image.open(io.BytesIO(drawn[item.asin])).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
            titles.append(item.title)
            pixels.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    return titles, torch.stack(pixels)


def write_merges(path: Path, titles: list[str]) -> None:
    """Learn byte-pair merges from titles and write them as open_clip's tokenizer reads them."""
    tokenizer = SimpleTokenizer()  # for its way to cut words, and its alphabet: 256 bytes, each within and at the end of a word
    words = Counter(word for title in titles for word in tokenizer.pat.findall(tokenizer.clean_fn(title)))
    spelt = {tuple(tokenizer.byte_encoder[byte] for byte in word.encode()): count for word, count in words.items()}
    wanted = VOCABULARY - 2 * len(tokenizer.byte_encoder) - 2
    merges = learn_merges({(*letters[:-1], letters[-1] + "</w>"): count for letters, count in spelt.items()}, wanted)
    if len(merges) < wanted:
        raise SystemExit(f"only {len(merges)} merges could be learnt from {len(titles)} titles")
    lines = ["#version: byte-pair merges of synthetic titles", *(" ".join(pair) for pair in merges)]
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
        packed.write("\n".join(lines).encode())


def learn_merges(words: dict[tuple[str, ...], int], wanted: int) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al., 2016): merge the most frequent pair, again and again.

    Ties go to the pair that sorts first. The `tokenizers` library breaks them by chance, so that two runs gave two vocabularies.
    """
    symbols = [list(word) for word in words]
    counts = list(words.values())
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[int]] = defaultdict(set)

    def count(index: int, sign: int) -> None:
        for pair in pairwise(symbols[index]):
            pairs[pair] += sign * counts[index]
            where[pair].add(index)

    for index in range(len(symbols)):
        count(index, 1)
    merges: list[tuple[str, str]] = []
    while len(merges) < wanted:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] <= 0:
            break
        merges.append(best)
        for index in sorted(where.pop(best)):
            count(index, -1)
            symbols[index] = merged(symbols[index], best)
            count(index, 1)
        del pairs[best]
    return merges


def merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """A word with every occurrence of a pair made one symbol, from the left."""
    result: list[str] = []
    position = 0
    while position < len(symbols):
        both = tuple(symbols[position : position + 2]) == pair
        result.append("".join(pair) if both else symbols[position])
        position += 2 if both else 1
    return result


def train(tokens: torch.Tensor, pixels: torch.Tensor, epochs: int) -> torch.nn.Module:
    """Contrast titles with pictures (Radford et al., 2021), one cosine cycle of AdamW."""
    config = CONFIG["model_cfg"]
    model = open_clip.model.CLIP(**config)  # type: ignore[arg-type]
    model.train()
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    steps = len(tokens) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.1)
    labels = torch.arange(BATCH)
    for epoch in track(range(epochs), "training the demo encoder", unit="epochs"):
        start, total = time.monotonic(), 0.0
        order = torch.randperm(len(tokens), generator=generator)
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            image = model.encode_image(augment(pixels[rows], generator), normalize=True)
            text = model.encode_text(tokens[rows], normalize=True)
            logits = model.logit_scale.exp().clamp(max=100) * image @ text.T
            loss = (torch.nn.functional.cross_entropy(logits, labels) + torch.nn.functional.cross_entropy(logits.T, labels)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / steps:.3f} in {time.monotonic() - start:.1f} s", flush=True)
    return model.eval()


def augment(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift by up to four pixels, dim or brighten; to float in [-1, 1]."""
    images = pixels.float() / 127.5 - 1
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4), mode="replicate")
    x, y = (int(value) for value in torch.randint(0, 9, (2,), generator=generator))
    images = padded[:, :, y : y + images.shape[2], x : x + images.shape[3]]
    return (images * (0.9 + 0.2 * torch.rand(len(images), 1, 1, 1, generator=generator))).clamp(-1, 1)


if __name__ == "__main__":
    main()
