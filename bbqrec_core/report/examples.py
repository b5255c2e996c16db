"""Example users: what they bought, what came next, and what our model and the best baseline would have recommended."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from bbqrec_core import schema
from bbqrec_core.report.config import ReportConfig
from bbqrec_core.report.naming import shortened
from bbqrec_core.report.pictures import Pictures
from bbqrec_core.report.reading import Inputs, Rows


@dataclass(frozen=True)
class ShownItem:
    """An item as the page shows it.

    Attributes:
        title: Its title, or its ID where it has none.
        brand: May be empty.
        picture: CSS class of its thumbnail; empty without one.
        is_target: Whether it is what the user really took next.
    """

    title: str
    brand: str
    picture: str
    is_target: bool


@dataclass(frozen=True)
class ShownList:
    """One model's recommendations.

    Attributes:
        model: Name.
        ours: Whether it is the project's model.
        items: Best first.
        outcome: Where the target landed, in words.
        hit: Whether it is among the items shown.
    """

    model: str
    ours: bool
    items: list[ShownItem]
    outcome: str
    hit: bool


@dataclass(frozen=True)
class Example:
    """One user.

    Attributes:
        number: 1-based, for the heading.
        earlier: How many older items of the history are not shown.
        history: In time order, most recent last.
        target: What came next.
        lists: Recommendations by model.
    """

    number: int
    earlier: int
    history: list[ShownItem]
    target: ShownItem
    lists: list[ShownList]


def build_examples(inputs: Inputs, config: ReportConfig, ours: str, best: str, pictures: Pictures) -> list[Example]:
    """Prepare the example users that evaluation kept, in its order.

    Args:
        inputs: Artifacts.
        config: How much to show.
        ours: The project's model.
        best: The baseline to set beside it; empty for none.
        pictures: Makes thumbnails; asked in the order of the page, so that what does not fit is at its end.
    """
    rows = inputs.rows("evaluate", "examples.parquet") or []
    by_user: dict[int, Rows] = {}
    for row in rows:
        if row["model"] in (ours, best):
            by_user.setdefault(row[schema.USER_IDX], []).append(row)
    users = list(by_user)[: config.example_users]
    wanted: set[int] = set()
    for user in users:
        for row in by_user[user]:
            wanted |= {row[schema.TARGET], *row[schema.HISTORY][-config.history_items :], *row["recommended"][: config.recommendations]}
    catalogue = inputs.items(wanted) if wanted else {}
    ranks = inputs.table("evaluate", "ranks.parquet")
    examples = []
    for number, user in enumerate(users, start=1):
        mine = sorted(by_user[user], key=lambda row: row["model"] != ours)
        target, history = mine[0][schema.TARGET], mine[0][schema.HISTORY]

        def show(item: int, target: int = target) -> ShownItem:
            row = catalogue.get(item)
            if row is None:  # an index that no catalogue row has
                return ShownItem(f"unknown item {item}", "", "", item == target)
            picture = pictures.name_for(row["image_file"], row["image_sha256"])
            title = row["title"] or f"(no title) {row[schema.ITEM_ID]}"
            return ShownItem(shortened(title), shortened(row["brand"] or "", 40), picture, item == target)

        shown_history = [show(item) for item in history[-config.history_items :]]
        shown_target = show(target)
        lists = []
        for row in mine:
            items = [item for item in row["recommended"] if item >= 0][: config.recommendations]
            place = items.index(target) + 1 if target in items else None
            outcome = f"hit at place {place}" if place else _missed(ranks, row["model"], user)
            lists.append(ShownList(row["model"], row["model"] == ours, [show(item) for item in items], outcome, place is not None))
        examples.append(Example(number, max(0, len(history) - config.history_items), shown_history, shown_target, lists))
    return examples


def _missed(ranks: pa.Table | None, model: str, user: int) -> str:
    if ranks is not None:
        for row in ranks.filter((pc.field("model") == model) & pc.field("masked") & (pc.field("user_idx") == user)).to_pylist():
            first, last = row["above"] + 1, row["above"] + row["tied"] + 1
            return f"missed, target at place {first:,}" if first == last else f"missed, target tied for places {first:,} to {last:,}"
    return "missed"
