"""Who buys and reviews what, when: the synthetic shop's customers.

A model of shopping as real shops know it, not of any recommender: tastes that drift, one main item where many would do, accessories
after their main item, consumables again and again, loyalty to makers that pleased, fashions of the season, gifts that fit no taste,
and reviews that are written late, together, or never. The constants are guesses at real shops, not tuned on any model's results.
"""

from dataclasses import dataclass

import numpy as np

from bbqrec_core.ingest.shop.catalogue import DAYS, FIRST_DAY, Brand, Catalogue
from bbqrec_core.ingest.shop.taxonomy import COLOURS, DEPARTMENTS, TYPES, Kind

CASUAL_SHARE = 0.08
"""Customers with two to four reviews, which a 5-core drops."""
MEAN_FURTHER_REVIEWS = 7.5
"""Reviews of the others beyond five, on average; their number is geometric, as real activity is skewed."""
MOST_REVIEWS = 60
REVIEWED_SHARE = 0.6
"""Purchases that are reviewed."""
GIFT_SHARE = 0.07
"""Purchases for somebody else's taste."""
SUBSTITUTE_DAMPING = 0.03
"""What is left of the need for a main item while one of its type is owned."""
REPLACEMENT_DAYS = 900.0
ACCESSORY_ALONE = 0.25
"""Need for an accessory without its main item, relative to a main item's."""
ACCESSORY_WITH_MAIN = 0.8
ACCESSORY_JUST_AFTER = 4.0
"""Further need just after the main item was bought; it fades over ACCESSORY_DAYS."""
ACCESSORY_DAYS = 120.0
REFILL_DAYS = 60.0
DRIFT = 0.3
"""Standard deviation of each department's log taste from one session to the next."""
NEW_HOBBY_SHARE = 0.04
"""Sessions in which a customer takes up something new."""
DAYS_BETWEEN_SESSIONS = 55.0
BATCH_WRITER_SHARE = 0.35
"""Customers who now and then sit down and review all that is waiting, on one day: the ties of real dumps."""


@dataclass(frozen=True)
class Review:
    """A purchase that its buyer wrote about.

    Attributes:
        user: Index of the customer.
        item: Index of the item.
        bought: Day of the shop's life on which it was bought.
        written: Day on which the review was written, not before `bought`.
        rating: 1 to 5.
    """

    user: int
    item: int
    bought: int
    written: int
    rating: int


class Market:
    """The catalogue as arrays, for choosing from it."""

    def __init__(self, catalogue: Catalogue) -> None:
        items = catalogue.items
        colours = list(COLOURS)
        self.n_types = len(TYPES)
        self.n_brands = len(catalogue.brands)
        self.brands: tuple[Brand, ...] = catalogue.brands
        self.type = np.array([item.type_index for item in items])
        self.brand = np.array([item.brand for item in items])
        self.colour = np.array([colours.index(item.colour) for item in items])
        self.tier = np.array([item.tier for item in items])
        self.quality = np.array([item.quality for item in items])
        self.appeal = np.array([item.appeal for item in items])
        self.launch = np.array([item.launch_day for item in items])
        self.shelves = [np.flatnonzero(self.type == index) for index in range(self.n_types)]
        self.department = np.array([DEPARTMENTS.index(row.department) for row in TYPES])
        self.kind = np.array([list(Kind).index(row.kind) for row in TYPES])
        self.season = np.array([row.season for row in TYPES])
        keys = {row.key: index for index, row in enumerate(TYPES)}
        self.mains = [np.array([keys[key] for key in row.goes_with], dtype=int) for row in TYPES]
        self.stocked = np.array([len(shelf) > 0 for shelf in self.shelves])
        self.reach = np.array([0.0 if not len(shelf) else np.log(len(shelf)) for shelf in self.shelves])

    def seasonal(self, day: int) -> np.ndarray:
        """Demand of each type on a day relative to its yearly mean, float64 [types]."""
        month = ((FIRST_DAY + day) % 365.25) / 30.44 + 0.5
        swing = 0.8 * np.cos(2 * np.pi * (month - self.season) / 12)
        return np.where(self.season > 0, 1 + swing, 1.0)

    def fashion(self, day: int, items: np.ndarray) -> np.ndarray:
        """Log popularity of items on a day: new ones are sought after, old ones fade, float64 [len(items)]."""
        age = (day - self.launch[items]) / 365.25
        return self.appeal[items] - 0.25 * age


@dataclass
class _Customer:
    taste: np.ndarray  # log weight per department
    brand_liking: np.ndarray
    colour_liking: np.ndarray
    tier: float
    generosity: float
    batch_writer: bool
    last_bought: np.ndarray  # day per type, -inf if never
    last_brand: np.ndarray  # brand of the last purchase per type, -1 if none


def make_reviews(catalogue: Catalogue, n_users: int, rng: np.random.Generator) -> list[Review]:
    """Let customers live, buy and review.

    Args:
        catalogue: What there is to buy.
        n_users: Number of customers; each writes at least one review, if the catalogue allows.
        rng: The only source of randomness.

    Returns:
        Reviews of distinct user-item pairs, by user, in the order of purchase.
    """
    market = Market(catalogue)
    reviews: list[Review] = []
    for user, child in enumerate(rng.spawn(n_users)):
        reviews.extend(_live(user, market, child))
    return reviews


def _live(user: int, market: Market, rng: np.random.Generator) -> list[Review]:
    customer = _new_customer(market, rng)
    wanted = int(rng.integers(2, 5)) if rng.random() < CASUAL_SHARE else 4 + int(rng.geometric(1 / (1 + MEAN_FURTHER_REVIEWS)))
    wanted = min(wanted, MOST_REVIEWS)
    pace = DAYS_BETWEEN_SESSIONS * float(np.exp(rng.normal(0, 0.4)))
    length = wanted / REVIEWED_SHARE / 1.7 * pace  # a session has 1.7 purchases on average
    day = max(1.0, DAYS * 0.97 - length) * float(rng.random()) ** 0.65  # the shop grows: later years see more customers
    bought: set[int] = set()
    pending: list[tuple[int, int, int]] = []  # item, bought, rating
    reviews: list[Review] = []
    while day < DAYS - 1 and len(reviews) + len(pending) < wanted:
        _drift(customer, market, rng)
        for _ in range(1 + int(rng.poisson(0.7))):
            item = _choose(customer, market, int(day), bought, rng)
            if item is None:
                continue
            bought.add(item)
            rating = _rate(customer, market, item, rng)
            _remember(customer, market, item, int(day), rating)
            if rng.random() < REVIEWED_SHARE:
                pending.append((item, int(day), rating))
        if not customer.batch_writer or rng.random() < 0.35:
            reviews.extend(_write(user, pending, customer.batch_writer, rng))
            pending = []
        day += max(1.0, float(rng.exponential(pace)))
        if len(bought) >= len(market.type):
            break
    reviews.extend(_write(user, pending, customer.batch_writer, rng))
    return reviews[:wanted]


def _new_customer(market: Market, rng: np.random.Generator) -> _Customer:
    return _Customer(
        taste=rng.normal(0, 1.6, len(DEPARTMENTS)),
        brand_liking=rng.normal(0, 0.6, market.n_brands),
        colour_liking=rng.normal(0, 0.6, len(COLOURS)),
        tier=float(rng.normal(0, 0.5)),
        generosity=float(rng.normal(0, 0.5)),
        batch_writer=bool(rng.random() < BATCH_WRITER_SHARE),
        last_bought=np.full(market.n_types, -np.inf),
        last_brand=np.full(market.n_types, -1),
    )


def _drift(customer: _Customer, market: Market, rng: np.random.Generator) -> None:
    customer.taste = 0.97 * customer.taste + rng.normal(0, DRIFT, len(DEPARTMENTS))
    if rng.random() < NEW_HOBBY_SHARE:
        customer.taste[rng.integers(len(DEPARTMENTS))] += 3.0


def _choose(customer: _Customer, market: Market, day: int, bought: set[int], rng: np.random.Generator) -> int | None:
    """Pick a type by need, then an item of it by liking; None if nothing is left."""
    gift = rng.random() < GIFT_SHARE
    need = market.seasonal(day) * market.stocked * np.exp(0.5 * market.reach)
    if not gift:
        need = need * _need(customer, market, day)
    for _ in range(4):  # a shelf may have nothing new: look at another
        if need.sum() <= 0:
            return None
        chosen = int(rng.choice(market.n_types, p=need / need.sum()))
        shelf = market.shelves[chosen]
        offered = shelf[(market.launch[shelf] <= day) & ~np.isin(shelf, list(bought))]
        if len(offered):
            liking = market.fashion(day, offered)
            if not gift:
                liking = liking + _liking(customer, market, chosen, offered)
            odds = np.exp(liking - liking.max())
            return int(rng.choice(offered, p=odds / odds.sum()))
        need[chosen] = 0.0
    return None


def _need(customer: _Customer, market: Market, day: int) -> np.ndarray:
    """How much a customer could use one of each type, float64 [types]."""
    need = np.exp(customer.taste)[market.department]
    since = day - customer.last_bought
    main, accessory, consumable = (market.kind == code for code in range(3))
    owned = since < REPLACEMENT_DAYS
    need[main & owned] *= SUBSTITUTE_DAMPING
    for index in np.flatnonzero(accessory | consumable):
        ages = since[market.mains[index]]
        ages = ages[ages < REPLACEMENT_DAYS]
        need[index] *= (
            ACCESSORY_WITH_MAIN + ACCESSORY_JUST_AFTER * float(np.exp(-ages / ACCESSORY_DAYS).max()) if len(ages) else ACCESSORY_ALONE
        )
    need[accessory & (since < REPLACEMENT_DAYS / 2)] *= 0.15
    need[consumable] *= 1 - np.exp(-np.maximum(since[consumable], 1.0) / REFILL_DAYS)
    return need


def _liking(customer: _Customer, market: Market, chosen: int, items: np.ndarray) -> np.ndarray:
    brands = market.brand[items]
    liking = customer.brand_liking[brands] + customer.colour_liking[market.colour[items]] + 0.2 * market.quality[items]
    liking -= 1.2 * (market.tier[items] - customer.tier) ** 2
    mains = market.mains[chosen]
    if len(mains):  # accessories of the main item's own maker fit best
        liking = liking + 1.0 * np.isin(brands, customer.last_brand[mains])
    return liking


def _rate(customer: _Customer, market: Market, item: int, rng: np.random.Generator) -> int:
    """Stars: mostly five, now and then one, as real shops have it."""
    pleased = 0.5 * market.quality[item] + customer.generosity + 0.3 * customer.brand_liking[market.brand[item]] + rng.normal(0, 1.0)
    return 1 + int(np.searchsorted([-2.1, -1.7, -1.2, -0.4], pleased))


def _remember(customer: _Customer, market: Market, item: int, day: int, rating: int) -> None:
    kind, brand = int(market.type[item]), int(market.brand[item])
    customer.last_bought[kind] = day
    customer.last_brand[kind] = brand
    customer.brand_liking[brand] += {1: -0.8, 2: -0.5, 3: -0.1, 4: 0.1, 5: 0.25}[rating]


def _write(user: int, pending: list[tuple[int, int, int]], together: bool, rng: np.random.Generator) -> list[Review]:
    if not pending:
        return []
    if together:
        written = min(DAYS - 1, max(day for _, day, _ in pending) + int(rng.geometric(0.15)))
        return [Review(user, item, day, written, rating) for item, day, rating in pending]
    return [Review(user, item, day, min(DAYS - 1, day + int(rng.geometric(0.12))), rating) for item, day, rating in pending]
