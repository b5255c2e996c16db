"""What the synthetic shop sells: departments, product types, materials and colours, as tables.

Only facts about kinds of things belong here, including how each looks in outline. Which items exist is decided in `catalogue.py`,
who buys what in `behaviour.py`. Nothing here depends on a seed.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a purchase of it does to later needs."""

    MAIN = "main"  # one is enough for a long time: others of its type are substitutes
    ACCESSORY = "accessory"  # wanted once the main item is there
    CONSUMABLE = "consumable"  # wanted once the main item is there, again and again


@dataclass(frozen=True)
class ProductType:
    """A kind of product.

    Attributes:
        key: Short unique name.
        department: First category level.
        shelf: Second category level.
        kind: Main item, accessory or consumable.
        goes_with: Keys of the main items that an accessory or consumable is for.
        nouns: What sellers call it in titles.
        materials: What it may be made of, keys of `MATERIALS`.
        price: Median price in dollars.
        season: Month in which demand peaks, 1 to 12; 0 where there is no season.
        outline: Its shape, in the little language of `pictures.py`: `;`-separated strokes on a 100 x 100 canvas.
    """

    key: str
    department: str
    shelf: str
    kind: Kind
    goes_with: tuple[str, ...]
    nouns: tuple[str, ...]
    materials: tuple[str, ...]
    price: float
    season: int
    outline: str


COLOURS: dict[str, tuple[int, int, int]] = {
    "Black": (38, 38, 42),
    "White": (236, 236, 230),
    "Grey": (136, 140, 146),
    "Red": (200, 44, 48),
    "Orange": (232, 128, 40),
    "Yellow": (236, 204, 64),
    "Green": (62, 142, 74),
    "Teal": (36, 150, 156),
    "Blue": (46, 92, 186),
    "Purple": (122, 70, 160),
    "Pink": (232, 134, 168),
    "Brown": (128, 84, 52),
}

MATERIALS: dict[str, str] = {  # name in titles -> surface in pictures
    "Wood": "grain",
    "Bamboo": "grain",
    "Steel": "sheen",
    "Aluminium": "sheen",
    "Plastic": "plain",
    "Leather": "speckle",
    "Cotton": "weave",
    "Nylon": "weave",
    "Glass": "gloss",
    "Ceramic": "gloss",
    "Silicone": "plain",
    "Rubber": "speckle",
    "Paper": "plain",
}

_M, _A, _C = Kind.MAIN, Kind.ACCESSORY, Kind.CONSUMABLE

# key | department | shelf | kind | goes with | nouns | materials | price | season | outline
# fmt: off
_ROWS: tuple[tuple[str, str, str, Kind, str, str, str, float, int, str], ...] = (
    ("guitar", "Music Making", "Stringed Instruments", _M, "", "Acoustic Guitar,Folk Guitar", "Wood", 140, 12,
     "e 24 54 76 97 b;e 31 36 69 66 b;r 46 4 54 52 d;e 42 60 58 76 d"),
    ("ukulele", "Music Making", "Stringed Instruments", _M, "", "Ukulele,Soprano Ukulele", "Wood,Plastic", 52, 6,
     "e 33 58 67 92 b;e 38 45 62 66 b;r 47 16 53 50 t;e 45 66 55 75 d"),
    ("piano", "Music Making", "Keyboards", _M, "", "Digital Piano,Electric Keyboard", "Plastic", 165, 12,
     "r 4 34 96 66 b;r 8 48 92 64 l;g 8 48 92 64 11 1 d"),
    ("strings", "Music Making", "Instrument Accessories", _C, "guitar,ukulele", "String Set,Replacement Strings", "Steel,Nylon", 9, 0,
     "a 16 16 84 84 4 b;a 24 24 76 76 3 t;a 32 32 68 68 3 b"),
    ("tuner", "Music Making", "Instrument Accessories", _A, "guitar,ukulele", "Clip-On Tuner,Chromatic Tuner", "Plastic", 14, 0,
     "r 24 20 76 58 b;r 32 27 68 49 l;r 44 58 56 88 d;l 50 46 60 31 2 t"),
    ("gigbag", "Music Making", "Cases & Bags", _A, "guitar,ukulele", "Gig Bag,Padded Instrument Bag", "Nylon,Leather", 34, 0,
     "p 34 95 66 95 74 62 58 34 56 6 44 6 42 34 26 62 b;l 40 54 60 54 4 t;a 40 34 60 50 3 d"),
    ("pedal", "Music Making", "Instrument Accessories", _A, "piano", "Sustain Pedal,Keyboard Foot Pedal", "Steel,Plastic", 22, 0,
     "p 10 80 90 80 82 60 18 60 b;p 40 62 60 62 56 24 44 24 t"),
    ("coffeemaker", "Kitchen", "Coffee & Tea", _M, "", "Coffee Maker,Drip Coffee Machine", "Steel,Plastic", 62, 12,
     "r 24 8 76 24 b;r 62 8 76 92 b;r 24 82 76 92 b;e 28 44 60 80 l;r 30 62 58 78 d"),
    ("kettle", "Kitchen", "Coffee & Tea", _M, "", "Electric Kettle,Tea Kettle", "Steel,Glass,Plastic", 38, 11,
     "p 30 30 64 30 74 90 20 90 b;p 22 40 6 52 24 62 b;a 60 34 92 78 6 d;r 36 20 58 30 t"),
    ("pan", "Kitchen", "Cookware", _M, "", "Frying Pan,Skillet", "Steel,Aluminium,Ceramic", 32, 0,
     "e 6 32 66 92 b;e 14 40 58 84 d;l 62 46 96 12 8 t"),
    ("knife", "Kitchen", "Cutlery", _M, "", "Chef's Knife,Kitchen Knife", "Steel,Ceramic", 41, 11,
     "p 4 60 60 38 60 62 16 66 b;r 60 40 96 58 d;e 66 46 72 52 t;e 82 46 88 52 t"),
    ("filters", "Kitchen", "Coffee & Tea", _C, "coffeemaker", "Coffee Filters,Paper Filter Cones", "Paper,Cotton", 7, 0,
     "p 10 20 90 20 62 84 38 84 b;l 26 28 44 80 2 t;l 50 26 50 80 2 t;l 74 28 56 80 2 t"),
    ("mug", "Kitchen", "Coffee & Tea", _A, "coffeemaker,kettle", "Coffee Mug,Tea Mug", "Ceramic,Glass,Steel", 13, 12,
     "r 20 24 66 86 b;a 56 36 90 72 7 b;e 20 18 66 32 d;l 22 56 64 56 5 t"),
    ("sharpener", "Kitchen", "Cutlery", _A, "knife", "Knife Sharpener,Sharpening Stone", "Steel,Ceramic", 17, 0,
     "r 8 56 92 82 b;p 30 56 40 36 50 56 t;p 54 56 64 36 74 56 t"),
    ("lid", "Kitchen", "Cookware", _A, "pan", "Pan Lid,Splatter Lid", "Glass,Steel,Silicone", 16, 0,
     "e 6 38 94 80 b;e 14 44 86 72 l;e 42 28 58 46 t"),
    ("tent", "Camping", "Shelter", _M, "", "Camping Tent,Dome Tent", "Nylon,Cotton", 118, 6,
     "p 50 14 96 86 4 86 b;p 50 30 66 86 34 86 d;l 50 14 50 4 3 t"),
    ("sleepingbag", "Camping", "Shelter", _M, "", "Sleeping Bag,Mummy Sleeping Bag", "Nylon,Cotton", 54, 6,
     "e 30 4 70 40 b;p 30 22 70 22 64 96 36 96 b;e 39 10 61 32 l;l 50 34 50 92 3 t"),
    ("backpack", "Camping", "Packs", _M, "", "Hiking Backpack,Trekking Pack", "Nylon,Leather", 66, 7,
     "r 26 20 74 92 b;a 38 4 62 30 4 d;r 34 56 66 84 t;l 30 44 70 44 3 d"),
    ("stove", "Camping", "Camp Kitchen", _M, "", "Camping Stove,Backpacking Stove", "Steel,Aluminium", 43, 7,
     "r 18 60 82 84 b;l 20 46 80 46 4 d;l 34 46 34 60 4 d;l 66 46 66 60 4 d;e 66 66 78 78 t"),
    ("pegs", "Camping", "Shelter", _A, "tent", "Tent Pegs,Tent Stakes", "Aluminium,Steel,Plastic", 12, 6,
     "l 24 14 24 88 6 b;l 42 14 42 88 6 b;l 60 14 60 88 6 b;l 78 14 78 88 6 b;l 18 16 84 16 4 t"),
    ("sleepingpad", "Camping", "Shelter", _A, "tent,sleepingbag", "Sleeping Pad,Camping Mat", "Nylon,Rubber", 36, 6,
     "r 6 40 78 66 b;e 66 30 94 76 t;e 73 42 87 64 d"),
    ("fuel", "Camping", "Camp Kitchen", _C, "stove", "Gas Canister,Stove Fuel", "Steel", 10, 7,
     "r 26 34 74 90 b;e 26 24 74 46 b;r 44 14 56 30 d;r 26 54 74 68 t"),
    ("raincover", "Camping", "Packs", _A, "backpack", "Rain Cover,Waterproof Pack Cover", "Nylon", 15, 10,
     "e 18 10 82 94 b;a 18 10 82 94 4 d;e 42 60 58 76 t"),
    ("camera", "Photography", "Cameras", _M, "", "Digital Camera,Mirrorless Camera", "Aluminium,Plastic", 320, 12,
     "r 8 30 92 80 b;r 34 18 62 32 b;e 32 34 72 76 d;e 42 44 62 66 l;r 76 36 86 44 t"),
    ("lens", "Photography", "Lenses", _M, "", "Zoom Lens,Prime Lens", "Aluminium,Plastic", 210, 12,
     "r 14 30 70 72 b;r 70 22 88 80 b;r 30 30 40 72 d;r 50 30 54 72 t;e 82 26 94 76 l"),
    ("tripod", "Photography", "Support", _M, "", "Travel Tripod,Camera Tripod", "Aluminium,Steel", 58, 7,
     "l 50 30 18 94 6 b;l 50 30 82 94 6 b;l 50 30 50 94 6 b;r 36 10 64 30 d;e 46 36 54 44 t"),
    ("cardmem", "Photography", "Camera Accessories", _C, "camera", "Memory Card,SD Card", "Plastic", 19, 0,
     "p 24 10 64 10 78 26 78 90 24 90 b;g 32 14 62 26 6 1 l;r 30 46 72 76 t"),
    ("lensfilter", "Photography", "Camera Accessories", _A, "lens", "Lens Filter,UV Filter", "Glass", 21, 5,
     "e 12 12 88 88 d;e 20 20 80 80 b;p 34 30 46 26 34 52 l;a 12 12 88 88 2 t"),
    ("camerabag", "Photography", "Cases & Bags", _A, "camera,lens", "Camera Bag,Shoulder Camera Case", "Nylon,Leather,Cotton", 39, 0,
     "r 12 38 88 90 b;a 24 6 76 66 4 d;r 12 38 88 56 d;e 45 50 55 60 t"),
    ("battery", "Photography", "Camera Accessories", _A, "camera", "Battery Pack,Spare Camera Battery", "Plastic", 18, 0,
     "r 26 22 74 92 b;r 34 12 46 22 d;r 54 12 66 22 d;p 54 38 38 62 48 62 44 80 62 54 52 54 t"),
    ("helmet", "Cycling", "Protection", _M, "", "Bike Helmet,Cycling Helmet", "Plastic,Rubber", 48, 4,
     "e 8 20 92 94 b;r 0 62 100 100 w;l 24 34 36 58 5 d;l 50 28 50 58 5 d;l 76 34 64 58 5 d;l 8 62 92 62 4 t"),
    ("bikelight", "Cycling", "Lights", _M, "", "Bike Light,Bicycle Headlight", "Aluminium,Plastic", 26, 10,
     "r 30 36 76 64 b;e 16 30 44 70 l;a 16 30 44 70 4 d;r 46 64 58 84 t"),
    ("saddle", "Cycling", "Bike Parts", _M, "", "Bike Saddle,Bicycle Seat", "Leather,Rubber", 37, 4,
     "p 4 40 46 44 92 24 96 46 88 62 46 54 8 52 b;l 50 54 50 92 6 d;l 60 52 84 48 2 t"),
    ("pump", "Cycling", "Tools", _M, "", "Floor Pump,Bike Pump", "Steel,Aluminium", 31, 4,
     "r 44 24 56 84 b;l 28 14 72 14 6 d;l 50 14 50 26 4 d;r 30 84 70 92 d;a 54 52 88 90 3 t"),
    ("tube", "Cycling", "Bike Parts", _C, "saddle,pump", "Inner Tube,Bike Tube", "Rubber", 8, 4,
     "a 10 10 90 90 8 b;l 50 18 50 34 4 t"),
    ("lights_mount", "Cycling", "Lights", _A, "bikelight", "Light Mount,Handlebar Bracket", "Plastic,Rubber,Aluminium", 9, 10,
     "a 24 36 76 88 9 b;r 40 14 60 40 b;e 46 20 54 28 t"),
    ("visor", "Cycling", "Protection", _A, "helmet", "Helmet Visor,Helmet Rain Shell", "Plastic,Nylon", 16, 10,
     "p 8 56 50 26 92 56 80 66 50 48 20 66 b;l 22 54 50 34 3 t;l 78 54 50 34 3 t"),
    ("desklamp", "Home Office", "Lighting", _M, "", "Desk Lamp,LED Desk Lamp", "Aluminium,Plastic,Wood", 35, 9,
     "e 22 82 66 96 b;l 44 88 44 44 5 d;l 44 44 66 22 5 d;p 54 14 84 8 96 34 60 38 b;l 66 40 92 36 3 t"),
    ("chair", "Home Office", "Furniture", _M, "", "Office Chair,Desk Chair", "Leather,Nylon,Cotton", 128, 9,
     "r 28 6 72 48 b;r 22 52 78 64 b;l 50 64 50 82 5 d;l 24 92 50 80 4 d;l 76 92 50 80 4 d;l 36 16 64 16 3 t"),
    ("keyboard", "Home Office", "Computer Accessories", _M, "", "Wireless Keyboard,Mechanical Keyboard", "Plastic,Aluminium", 46, 9,
     "r 4 32 96 72 b;g 10 38 90 60 10 3 d;r 30 62 70 68 t"),
    ("notebook", "Home Office", "Stationery", _M, "", "Notebook,Dotted Journal", "Paper,Leather", 14, 9,
     "r 20 8 80 92 b;l 28 8 28 92 4 d;r 40 24 72 40 l;l 70 8 70 92 2 t"),
    ("bulb", "Home Office", "Lighting", _C, "desklamp", "LED Bulb,Replacement Bulb", "Glass", 8, 10,
     "e 24 8 76 62 b;p 38 56 62 56 58 72 42 72 b;r 40 72 60 92 d;l 44 40 56 40 2 t"),
    ("cushion", "Home Office", "Furniture", _A, "chair", "Seat Cushion,Lumbar Pillow", "Cotton,Leather", 27, 0,
     "p 10 26 50 18 90 26 84 52 90 80 50 86 10 80 16 52 b;e 45 46 55 58 t"),
    ("wristrest", "Home Office", "Computer Accessories", _A, "keyboard", "Wrist Rest,Keyboard Palm Rest", "Wood,Leather,Rubber", 18, 0,
     "r 4 44 96 64 b;l 8 62 92 62 2 t"),
    ("pen", "Home Office", "Stationery", _C, "notebook", "Gel Pen,Rollerball Pen", "Plastic,Steel", 11, 9,
     "l 22 84 78 20 10 b;p 12 94 16 82 26 90 d;l 60 28 78 34 3 t"),
    ("dogbed", "Pets", "Dogs", _M, "", "Dog Bed,Pet Sofa", "Cotton,Nylon", 47, 11,
     "e 4 34 96 88 b;e 20 44 80 74 l;p 40 88 60 88 58 76 42 76 t"),
    ("leash", "Pets", "Dogs", _M, "", "Dog Leash,Walking Lead", "Nylon,Leather,Cotton", 17, 4,
     "a 12 10 56 54 6 b;l 48 48 84 84 6 b;e 78 78 92 94 d;l 40 40 48 48 6 t"),
    ("aquarium", "Pets", "Fish", _M, "", "Aquarium,Fish Tank", "Glass", 88, 1,
     "r 8 22 92 86 b;r 12 34 88 82 l;p 40 58 58 50 58 66 t;e 54 50 72 66 t;r 8 18 92 26 d"),
    ("cattree", "Pets", "Cats", _M, "", "Cat Tree,Cat Tower", "Wood,Cotton", 74, 11,
     "r 14 86 86 96 b;r 44 20 56 86 d;r 24 12 76 22 b;r 50 50 86 60 b;e 18 58 42 84 t"),
    ("treats", "Pets", "Dogs", _C, "dogbed,leash", "Dog Treats,Chew Sticks", "Paper", 9, 0,
     "p 22 12 78 12 74 92 26 92 b;r 32 38 68 48 l;e 28 36 38 50 l;e 62 36 72 50 l;l 22 20 78 20 3 t"),
    ("fishfood", "Pets", "Fish", _C, "aquarium", "Fish Food,Tropical Flakes", "Plastic", 8, 0,
     "r 28 26 72 92 b;r 24 12 76 28 d;p 36 58 48 50 48 66 t;e 44 50 64 66 t"),
    ("cattoy", "Pets", "Cats", _A, "cattree", "Cat Toy,Feather Wand", "Cotton,Rubber", 9, 12,
     "l 10 88 66 26 4 d;e 56 12 90 46 b;p 80 20 96 4 94 24 t;p 60 20 52 4 70 12 t"),
    ("bowl", "Pets", "Dogs", _A, "dogbed,leash,cattree", "Pet Bowl,Feeding Dish", "Steel,Ceramic,Plastic", 14, 0,
     "p 8 84 92 84 76 44 24 44 b;e 24 34 76 54 d;e 44 60 56 72 t"),
    ("planter", "Garden", "Pots", _M, "", "Plant Pot,Planter", "Ceramic,Wood,Plastic", 24, 4,
     "p 18 40 82 40 70 94 30 94 b;r 14 32 86 44 b;p 50 32 30 6 46 20 t;p 50 32 72 6 54 20 t"),
    ("hose", "Garden", "Watering", _M, "", "Garden Hose,Expandable Hose", "Rubber,Nylon", 33, 5,
     "a 8 22 80 94 7 b;a 20 34 68 82 7 b;l 72 44 92 16 6 d;r 84 6 98 18 t"),
    ("shears", "Garden", "Tools", _M, "", "Pruning Shears,Garden Clippers", "Steel", 23, 3,
     "l 24 92 58 40 8 b;l 76 92 42 40 8 b;p 58 44 40 6 50 44 d;p 42 44 60 6 50 44 d;e 45 46 55 56 t"),
    ("birdfeeder", "Garden", "Wildlife", _M, "", "Bird Feeder,Hanging Feeder", "Wood,Plastic,Steel", 28, 11,
     "p 50 8 88 36 12 36 b;r 30 36 70 82 l;r 14 82 86 90 b;l 50 2 50 10 2 d;l 30 58 70 58 4 t"),
    ("seeds", "Garden", "Pots", _C, "planter", "Herb Seeds,Flower Seeds", "Paper", 6, 3,
     "r 24 10 76 92 b;e 36 36 64 64 l;l 50 64 50 84 3 t;p 50 74 64 66 60 78 t"),
    ("nozzle", "Garden", "Watering", _A, "hose", "Spray Nozzle,Watering Gun", "Plastic,Aluminium", 13, 5,
     "p 6 22 30 16 66 26 66 42 30 48 6 42 b;p 56 40 72 40 86 92 68 92 b;l 54 46 60 70 3 t"),
    ("gloves", "Garden", "Tools", _A, "shears,planter", "Garden Gloves,Work Gloves", "Leather,Cotton,Rubber", 12, 4,
     "r 34 42 72 80 b;r 34 12 42 50 b;r 44 6 52 50 b;r 54 8 62 50 b;r 64 14 72 50 b;p 34 64 14 44 20 36 36 50 b;r 34 80 72 94 t"),
    ("birdseed", "Garden", "Wildlife", _C, "birdfeeder", "Bird Seed,Suet Balls", "Paper", 11, 12,
     "p 18 24 82 24 88 92 12 92 b;p 26 24 74 24 66 8 34 8 d;e 34 44 66 76 l;e 44 52 56 66 t"),
)
# fmt: on


def _parse(row: tuple[str, str, str, Kind, str, str, str, float, int, str]) -> ProductType:
    key, department, shelf, kind, goes_with, nouns, materials, price, season, outline = row
    split = [tuple(part for part in field.split(",") if part) for field in (goes_with, nouns, materials)]
    return ProductType(key, department, shelf, kind, split[0], split[1], split[2], price, season, outline)


TYPES: tuple[ProductType, ...] = tuple(_parse(row) for row in _ROWS)
DEPARTMENTS: tuple[str, ...] = tuple(dict.fromkeys(row.department for row in TYPES))
