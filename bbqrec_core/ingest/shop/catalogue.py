"""The synthetic shop's catalogue: brands with a style, and items with attributes, titles, prices and descriptions.

Titles here are as a careful seller would write them; what goes wrong with them in a real dump is added by `dirt.py`. Names of brands
are made of random syllables, so that they mean nothing and differ between seeds.
"""

from dataclasses import dataclass

import numpy as np

from bbqrec_core.ingest.shop.taxonomy import COLOURS, DEPARTMENTS, TYPES, ProductType

DAYS = 2400
"""The shop's recorded life, from `FIRST_DAY` on: six and a half years, as the dump of 2018 holds of a small category."""
FIRST_DAY = 15_400
"""Day 0 of the shop, in days since 1970: 2012-03-01."""
TYPES_PER_DEPARTMENT = len(TYPES) / len(DEPARTMENTS)
VARIANT_SHARE = 0.15
"""Items that are another colour of an item already there: near-identical titles and pictures."""
OPENING_SHARE = 0.5
"""Items on sale from the first day; the others are launched later."""
PATTERNS = ("plain", "stripes", "dots", "check", "band", "diagonal")
GLYPHS = ("disc", "square", "triangle", "cross", "ring", "bars", "diamond", "chevron")
_ASIN_LETTERS = np.array(list("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"))
_SERIES = ("Pro", "Classic", "Lite", "Plus", "Original", "Compact", "Studio", "Trail", "Home", "Eco", "Max", "Mini")
_FEATURES = (
    "Lightweight", "Heavy Duty", "Portable", "Premium", "Beginner", "Professional", "Easy to Clean", "Foldable", "Non-Slip", "Durable",
    "Adjustable", "Water Resistant", "Handmade", "Quick Release", "Extra Large", "Slim",
)  # fmt: skip
_EXTRAS = ("with Carry Pouch", "Gift Box", "2-Year Warranty", "for Home & Travel", "New Version", "for Men & Women", "Easy Setup")
_PACKS = ("2-Pack", "Pack of 3", "5 Count", "Pack of 10", "Set of 6")


@dataclass(frozen=True)
class Brand:
    """A maker.

    Attributes:
        name: Made of random syllables.
        departments: Indices into DEPARTMENTS.
        colours: Names of the colours it mostly sells.
        tier: Price level, about -1.5 (cheap) to 1.5 (dear).
        quality: How well it builds, about standard normal.
        pattern: What it prints on its products, one of PATTERNS.
        glyph: Its logo, one of GLYPHS.
        ink: RGB of logo and pattern.
        title_style: How it orders the words of a title, 0 to 2.
    """

    name: str
    departments: tuple[int, ...]
    colours: tuple[str, ...]
    tier: float
    quality: float
    pattern: str
    glyph: str
    ink: tuple[int, int, int]
    title_style: int


@dataclass(frozen=True)
class Item:
    """A listing.

    Attributes:
        asin: Ten characters, unique.
        type_index: Index into TYPES.
        brand: Index into the catalogue's brands.
        colour: Key of COLOURS.
        material: Key of MATERIALS.
        title: As the seller wrote it.
        description: One or two sentences; empty where the seller gave none.
        price: Dollars.
        tier: Price relative to others of its type, log scale.
        quality: What ratings depend on.
        appeal: Log of its popularity among its substitutes.
        launch_day: Day of the shop's life from which on it is sold.
        variant_of: Index of the item that it is another colour of; -1 if none.
        look: Seed of its picture: variants share it.
    """

    asin: str
    type_index: int
    brand: int
    colour: str
    material: str
    title: str
    description: str
    price: float
    tier: float
    quality: float
    appeal: float
    launch_day: int
    variant_of: int
    look: int

    @property
    def type(self) -> ProductType:
        """What kind of product it is."""
        return TYPES[self.type_index]


@dataclass(frozen=True)
class Catalogue:
    """All that the shop ever sold."""

    brands: tuple[Brand, ...]
    items: tuple[Item, ...]


def make_catalogue(n_items: int, rng: np.random.Generator) -> Catalogue:
    """Make brands and items.

    Args:
        n_items: How many listings. A small shop has fewer departments, not fewer choices within a type.
        rng: The only source of randomness.
    """
    departments = _departments(n_items, rng)
    brands = _make_brands(departments, rng)
    types = np.array([i for i, row in enumerate(TYPES) if DEPARTMENTS.index(row.department) in departments])
    assortment = rng.gamma(4.0, size=len(types))  # some shelves are fuller than others
    counts = _apportion(n_items, assortment)
    asins = _asins(n_items, rng)
    items: list[Item] = []
    for type_index, count in zip(types, counts, strict=True):
        shelf: list[int] = []
        for _ in range(count):
            variant_of = int(rng.choice(shelf)) if shelf and rng.random() < VARIANT_SHARE else -1
            shelf.append(len(items))
            items.append(_make_item(asins[len(items)], int(type_index), brands, items, variant_of, rng))
    order = rng.permutation(n_items)  # listings are not filed by type
    place = np.empty(n_items, dtype=int)
    place[order] = np.arange(n_items)
    moved = [items[i] for i in order]
    return Catalogue(tuple(brands), tuple(_with_variant(item, place) for item in moved))


def _departments(n_items: int, rng: np.random.Generator) -> list[int]:
    wanted = int(np.clip(round(n_items / (2 * TYPES_PER_DEPARTMENT)), 1, len(DEPARTMENTS)))
    return sorted(int(i) for i in rng.permutation(len(DEPARTMENTS))[:wanted])


def _make_brands(departments: list[int], rng: np.random.Generator) -> list[Brand]:
    homes = [(department,) for department in departments for _ in range(4)]
    generalists = [tuple(sorted(int(i) for i in rng.permutation(departments)[:3])) for _ in range(max(1, len(departments) // 2))]
    names: set[str] = set()
    brands = []
    for home in homes + generalists:
        name = _brand_name(rng)
        while name in names:
            name = _brand_name(rng)
        names.add(name)
        palette = list(rng.permutation(list(COLOURS)))
        brands.append(
            Brand(
                name=name,
                departments=home,
                colours=tuple(str(colour) for colour in palette[:3]),
                tier=float(np.clip(rng.normal(0, 0.7), -1.5, 1.5)),
                quality=float(rng.normal()),
                pattern=str(rng.choice(PATTERNS)),
                glyph=str(rng.choice(GLYPHS)),
                ink=COLOURS[str(palette[3])],
                title_style=int(rng.integers(3)),
            )
        )
    return brands


def _brand_name(rng: np.random.Generator) -> str:
    onsets, vowels, codas = (
        ("v", "z", "br", "k", "dr", "l", "m", "qu", "t", "gr", "p", "fl", "n", "x"),
        "aeiou",
        ("", "n", "r", "l", "x", "k", ""),
    )
    syllables = [str(rng.choice(onsets)) + str(rng.choice(list(vowels))) + str(rng.choice(codas)) for _ in range(int(rng.integers(3, 4)))]
    return "".join(syllables).capitalize()


def _apportion(total: int, weights: np.ndarray) -> np.ndarray:
    """Whole numbers in proportion to `weights` that sum to `total`, by largest remainder."""
    shares = weights / weights.sum() * total
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _asins(n: int, rng: np.random.Generator) -> list[str]:
    asins: dict[str, None] = {}
    while len(asins) < n:
        asins["B0" + "".join(rng.choice(_ASIN_LETTERS, size=8))] = None
    return list(asins)


def _make_item(asin: str, type_index: int, brands: list[Brand], items: list[Item], variant_of: int, rng: np.random.Generator) -> Item:
    row = TYPES[type_index]
    department = DEPARTMENTS.index(row.department)
    launch = 0 if rng.random() < OPENING_SHARE else int(rng.integers(1, int(DAYS * 0.8)))
    appeal = float(rng.normal(0, 0.8))
    if variant_of >= 0:
        base = items[variant_of]
        brand = brands[base.brand]
        colour = str(rng.choice([name for name in COLOURS if name != base.colour]))
        title = base.title.replace(base.colour, colour) if base.colour in base.title else f"{base.title}, {colour}"
        return Item(
            asin, type_index, base.brand, colour, base.material, title, base.description, base.price, base.tier, base.quality,
            appeal, max(launch, base.launch_day), variant_of, base.look,
        )  # fmt: skip
    makers = [i for i, candidate in enumerate(brands) if department in candidate.departments]
    brand_index = int(rng.choice(makers))
    brand = brands[brand_index]
    colour = str(rng.choice(brand.colours)) if rng.random() < 0.75 else str(rng.choice(list(COLOURS)))
    material = str(rng.choice(row.materials))
    tier = float(0.5 * brand.tier + rng.normal(0, 0.3))
    price = max(1.99, round(row.price * float(np.exp(tier)))) - 0.01
    quality = float(0.7 * brand.quality + rng.normal(0, 0.7))
    title = _title(row, brand, colour, material, rng)
    description = _description(row, brand, colour, material, rng)
    return Item(
        asin, type_index, brand_index, colour, material, title, description, price, tier, quality, appeal, launch, -1,
        int(rng.integers(2**31)),
    )  # fmt: skip


def _title(row: ProductType, brand: Brand, colour: str, material: str, rng: np.random.Generator) -> str:
    noun = str(rng.choice(row.nouns))
    feature = str(rng.choice(_FEATURES))
    series = str(rng.choice(_SERIES)) if rng.random() < 0.5 else ""
    tail = [str(rng.choice(_EXTRAS))] if rng.random() < 0.35 else []
    if row.kind == "consumable":
        tail.append(str(rng.choice(_PACKS)))
    shade = colour if rng.random() < 0.85 else ""  # not every title names the colour
    stuff = material if rng.random() < 0.7 else ""
    if brand.title_style == 0:
        words = [brand.name, series, feature if rng.random() < 0.6 else "", shade, stuff, noun]
    elif brand.title_style == 1:
        words = [brand.name, series, noun, "-", feature, stuff]
        tail.append(shade)
    else:
        words = [feature if rng.random() < 0.6 else "", stuff, noun, "by", brand.name, series]
        tail = [f"({shade})" if shade else "", *tail]
    head = " ".join(word for word in words if word)
    return ", ".join([head, *(part for part in tail if part)])


def _description(row: ProductType, brand: Brand, colour: str, material: str, rng: np.random.Generator) -> str:
    if rng.random() < 0.15:
        return ""
    purpose = f" Goes well with your {TYPES_BY_KEY[row.goes_with[0]].nouns[0].lower()}." if row.goes_with else ""
    return (
        f"This {row.nouns[-1].lower()} by {brand.name} is made of {material.lower()} and comes in {colour.lower()}."
        f" {rng.choice(_FEATURES)!s} and made to last.{purpose}"
    )


TYPES_BY_KEY = {row.key: row for row in TYPES}


def _with_variant(item: Item, place: np.ndarray) -> Item:
    if item.variant_of < 0:
        return item
    return Item(**{**item.__dict__, "variant_of": int(place[item.variant_of])})
