"""Published results: a CSV file of facts, each with its source.

Columns: dataset, model, masked ("yes" where seen items were left out of the ranking), recall_at_10 (= HR@10 with one target), ndcg_at_10,
source. An empty number is one that its source does not give.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from bbqrec_core.errors import ProfileError

COLUMNS = ("dataset", "model", "masked", "recall_at_10", "ndcg_at_10", "source")


@dataclass(frozen=True)
class Published:
    """A row.

    Attributes:
        dataset: Split of a data set; only rows of one name may be compared.
        model: As its source calls it.
        masked: Whether seen items were left out of the ranking.
        recall: Recall@10; None = not given.
        ndcg: NDCG@10; None = not given.
        source: Where the numbers stand.
    """

    dataset: str
    model: str
    masked: bool
    recall: float | None
    ndcg: float | None
    source: str


def read_published(path: Path) -> list[Published]:
    """Read the file.

    Raises:
        ProfileError: It cannot be read, or a row does not fit; the message names the line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ProfileError(f"{path} has the columns {reader.fieldnames}.", f"It needs: {', '.join(COLUMNS)}.")
            return [_row(values, f"{path}, line {reader.line_num}") for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProfileError(f"The published numbers in {path} cannot be read: {error}.", "Check the file.") from None


def _row(values: dict[str, str | None], where: str) -> Published:
    texts = {name: (values.get(name) or "").strip() for name in COLUMNS}
    missing = [name for name in ("dataset", "model", "source") if not texts[name]]
    if missing or None in values:
        raise ProfileError(f"{where}: " + (f"{', '.join(missing)} is empty." if missing else "there are too many columns."), "Correct it.")
    if texts["masked"] not in ("yes", "no"):
        raise ProfileError(f"{where}: masked is {texts['masked']!r}.", "Write yes or no.")
    numbers = {name: _share(texts[name], name, where) for name in ("recall_at_10", "ndcg_at_10")}
    return Published(
        texts["dataset"], texts["model"], texts["masked"] == "yes", numbers["recall_at_10"], numbers["ndcg_at_10"], texts["source"]
    )


def _share(text: str, name: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ProfileError(f"{where}: {name} is {text!r}.", "It is a share between 0 and 1, or empty.")
    return value
