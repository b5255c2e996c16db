"""Product pictures of the synthetic shop: outline by type, colour and surface by item, pattern and logo by brand, noise by chance.

Only drawing belongs here; which pictures are missing or damaged is decided in `dirt.py`.

Outlines are `;`-separated strokes on a 100 x 100 canvas, the last word of each its ink: b body, t trim (the brand's colour), d dark,
l light, w background. Strokes: `e`/`r` ellipse/rounded box by corners, `p` polygon by points, `l` line by two points and width,
`a` ring by corners and width, `g` grid of bars by corners, columns and rows.
"""

import io

import numpy as np
from PIL import Image, ImageDraw

from bbqrec_core.ingest.shop.catalogue import Brand, Item
from bbqrec_core.ingest.shop.taxonomy import COLOURS, MATERIALS

SIZE = 112
"""Width and height of a picture, pixels."""
_CANVAS = 192
"""Drawn larger and shrunk, which smooths edges."""
Rgb = tuple[int, int, int]


def draw(item: Item, brand: Brand, rng: np.random.Generator) -> bytes:
    """Draw an item.

    Args:
        item: What to draw.
        brand: Its maker.
        rng: Decides pose, light, background and noise of this picture.

    Returns:
        A JPEG file, SIZE x SIZE.
    """
    look = np.random.default_rng(item.look)  # what variants of an item share
    backdrop = _backdrop(rng)
    inks = _inks(item, brand, backdrop, rng)
    picture = Image.fromarray(backdrop)
    body = Image.fromarray(_surface(inks["b"], item.material, brand, look))
    body_mask = Image.new("L", (_CANVAS, _CANVAS), 0)
    pose = _Pose(look, rng)
    for stroke in item.type.outline.split(";"):
        mask = Image.new("L", (_CANVAS, _CANVAS), 0)
        *words, ink = stroke.split()
        _stroke(ImageDraw.Draw(mask), words, pose)
        if ink == "b":
            picture.paste(body, mask=mask)
            body_mask.paste(255, mask=mask)
        elif ink == "w":
            picture.paste(Image.fromarray(backdrop), mask=mask)
        else:
            picture.paste(inks[ink], mask=mask)
    _logo(picture, brand, pose)
    picture = picture.rotate(float(rng.normal(0, 4)), resample=Image.Resampling.BILINEAR, fillcolor=_rgb(backdrop[2, 2]))
    return _photograph(picture, rng)


class _Pose:
    """Where on the canvas the outline lies: scale, shift and mirroring."""

    def __init__(self, look: np.random.Generator, rng: np.random.Generator) -> None:
        self.stretch = 1 + 0.08 * look.normal(size=2)
        self.scale = float(np.clip(rng.normal(0.82, 0.06), 0.65, 0.95)) * _CANVAS / 100
        self.shift = rng.normal(0, 2.0, size=2)
        self.mirror = bool(look.random() < 0.3)

    def points(self, numbers: list[float]) -> list[tuple[float, float]]:
        """Map outline coordinates to canvas coordinates."""
        xy = np.array(numbers, dtype=float).reshape(-1, 2) - 50
        if self.mirror:
            xy[:, 0] *= -1
        xy = (xy * self.stretch + self.shift) * self.scale + _CANVAS / 2
        return [(float(x), float(y)) for x, y in xy]

    def box(self, numbers: list[float]) -> tuple[float, float, float, float]:
        """Map two opposite corners, ordered as Pillow wants them."""
        (x0, y0), (x1, y1) = self.points(numbers)
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)

    def width(self, number: float) -> int:
        """Map a line's width."""
        return max(1, round(number * self.scale))


def _stroke(pen: ImageDraw.ImageDraw, words: list[str], pose: _Pose) -> None:
    shape, numbers = words[0], [float(word) for word in words[1:]]
    if shape == "e":
        pen.ellipse(pose.box(numbers), fill=255)
    elif shape == "r":
        pen.rounded_rectangle(pose.box(numbers), radius=pose.width(2), fill=255)
    elif shape == "p":
        pen.polygon(pose.points(numbers), fill=255)
    elif shape == "l":
        pen.line(pose.points(numbers[:4]), fill=255, width=pose.width(numbers[4]))
    elif shape == "a":
        pen.ellipse(pose.box(numbers[:4]), outline=255, width=pose.width(numbers[4]))
    elif shape == "g":
        x0, y0, x1, y1, columns, rows = numbers
        wide, high = (x1 - x0) / columns, (y1 - y0) / rows
        for column in range(int(columns)):
            for row in range(int(rows)):
                left, top = x0 + column * wide, y0 + row * high
                pen.rectangle(pose.box([left + 0.2 * wide, top + 0.15 * high, left + 0.8 * wide, top + 0.8 * high]), fill=255)
    else:
        raise ValueError(f"unknown stroke {shape!r}")


def _backdrop(rng: np.random.Generator) -> np.ndarray:
    """Mostly the white of a studio, now and then a tinted room, uint8 [_CANVAS, _CANVAS, 3]."""
    base = np.full(3, 250.0) - rng.uniform(0, 8, 3) if rng.random() < 0.8 else rng.uniform(150, 235, 3)
    shade = np.linspace(0, rng.uniform(0, 18), _CANVAS)[:, None, None]
    return np.broadcast_to(np.clip(base - shade, 0, 255), (_CANVAS, _CANVAS, 3)).astype(np.uint8)


def _inks(item: Item, brand: Brand, backdrop: np.ndarray, rng: np.random.Generator) -> dict[str, Rgb]:
    body = np.array(COLOURS[item.colour], dtype=float)
    if item.type.kind == "consumable":  # packs and parts are less saturated than the goods themselves
        body = 0.75 * body + 0.25 * 190
    body = np.clip(body + rng.normal(0, 7, 3), 0, 255)
    if np.abs(body - backdrop[_CANVAS // 2, _CANVAS // 2]).sum() < 60:  # white on white needs a shadow
        body = body * 0.86
    bright = body.mean() > 90
    return {"b": _rgb(body), "t": brand.ink, "d": _rgb(body * 0.4) if bright else (92, 92, 98), "l": _rgb(body * 0.4 + 150)}


def _surface(colour: Rgb, material: str, brand: Brand, look: np.random.Generator) -> np.ndarray:
    """The item's material in its colour, with the brand's pattern on it, uint8 [_CANVAS, _CANVAS, 3]."""
    y, x = np.mgrid[0:_CANVAS, 0:_CANVAS].astype(float)
    light = {
        "plain": np.zeros_like(x),
        "grain": 16 * np.sin(x / 5 + 5 * np.sin(y / 40 + look.uniform(0, 6))),
        "sheen": 46 * np.cos((x + 0.4 * y) / 26 + look.uniform(0, 6)),
        "speckle": look.normal(0, 15, x.shape),
        "weave": 13.0 * ((x // 3 + y // 3) % 2) - 6,
        "gloss": 60 * np.exp(-(((x - 70) / 30) ** 2 + ((y - 55) / 40) ** 2)),
    }[MATERIALS[material]]
    surface = np.array(colour, dtype=float) + light[:, :, None]
    printed = {
        "plain": np.zeros_like(x, dtype=bool),
        "stripes": (x // 9) % 3 == 0,
        "dots": ((x % 22 - 11) ** 2 + (y % 22 - 11) ** 2) < 20,
        "check": ((x // 16) + (y // 16)) % 2 == 0,
        "band": (y > 0.56 * _CANVAS) & (y < 0.64 * _CANVAS),
        "diagonal": ((x + y) // 10) % 4 == 0,
    }[brand.pattern]
    surface[printed] = 0.6 * surface[printed] + 0.4 * np.array(brand.ink)
    return np.clip(surface, 0, 255).astype(np.uint8)


def _logo(picture: Image.Image, brand: Brand, pose: _Pose) -> None:
    """The brand's sign in a corner of the product's box."""
    strokes = {
        "disc": "e 4 4 16 16",
        "square": "r 4 4 16 16",
        "triangle": "p 10 3 17 16 3 16",
        "cross": "l 10 3 10 17 4;l 3 10 17 10 4",
        "ring": "a 3 3 17 17 3",
        "bars": "l 5 4 5 16 3;l 10 4 10 16 3;l 15 4 15 16 3",
        "diamond": "p 10 2 18 10 10 18 2 10",
        "chevron": "l 3 6 10 14 3;l 10 14 17 6 3",
    }[brand.glyph]
    for stroke in strokes.split(";"):
        mask = Image.new("L", picture.size, 0)
        _stroke(ImageDraw.Draw(mask), stroke.split(), pose)
        picture.paste(brand.ink, mask=mask)


def _photograph(picture: Image.Image, rng: np.random.Generator) -> bytes:
    small = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS), dtype=float)
    small = small * rng.uniform(0.88, 1.06) + rng.normal(0, rng.uniform(2, 8), small.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(small, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=int(rng.integers(72, 90)))
    return buffer.getvalue()


def _rgb(values: np.ndarray) -> Rgb:
    red, green, blue = (int(value) for value in np.clip(np.asarray(values, dtype=float), 0, 255))
    return red, green, blue
