"""How numbers and names of tables are written for people."""

import math
import re
from datetime import UTC, datetime
from pathlib import PurePath, PureWindowsPath

from markupsafe import Markup

OURS = "BBQRec"
"""Name of the project's own model in every table."""

MINUS = "−"
_UPPER = {
    "ndcg": "NDCG",
    "mrr": "MRR",
    "hr": "HR",
    "lcp": "LCP",
    "club": "CLUB",
    "r2": "R²",
    "id": "ID",
    "ids": "IDs",
    "knn": "kNN",
    "lr": "learning rate",
}


def is_ours(model: str) -> bool:
    """Whether a model is the project's own, or a variant of it."""
    return model == OURS or model.startswith((f"{OURS} ", f"{OURS}(", f"{OURS}-", f"{OURS}/"))


def metric_name(name: str) -> str:
    """`ndcg_at_10` as NDCG@10."""
    return readable(re.sub(r"_at_(\d+)", r"@\1", name))


def readable(name: str) -> str:
    """`used_code_share` as "Used code share"."""
    words = name.replace("/", " / ").replace("_", " ").split()
    shown = []
    for word in words:
        stem, at, cut = word.partition("@")
        shown.append(_UPPER.get(stem.lower(), stem) + at + cut)
    sentence = " ".join(shown)
    return sentence[:1].upper() + sentence[1:]


def count(value: int | float | None) -> str:
    """A whole number with thousands separated."""
    return "–" if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A share as a percentage; small ones keep a decimal more."""
    if value is None:
        return "–"
    if value in (0.0, 1.0):
        return f"{value:.0%}"
    return f"{value:.1%}" if value >= 0.001 else f"{value:.2%}"


def decimals(value: float | None) -> str:
    """Four decimals, as metrics are printed."""
    return "–" if value is None or math.isnan(value) else f"{value:.4f}".replace("-", MINUS)


def signed(value: float) -> str:
    """Four decimals with a sign."""
    return f"{value:+.4f}".replace("-", MINUS)


def p_value(value: float) -> str:
    """A p value with three decimals."""
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def quantity(value: object, name: str = "") -> str:
    """Any scalar of a statistics table; by its name, a share is a percentage and a timestamp a date."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and not math.isnan(value) and 0 <= value <= 1 and "share" in name.split("_"):
        return share(value)
    if isinstance(value, int) and name.endswith(("timestamp", "valid_from", "test_from")) and not name.startswith("null"):
        return date(value)
    if isinstance(value, int):
        return count(value).replace("-", MINUS)
    if isinstance(value, float):
        if math.isnan(value):
            return "not a number"
        if value == int(value) and abs(value) < 1e15:
            return f"{value:,.0f}".replace("-", MINUS)
        return (f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) < 1e-3 else f"{value:.4f}").replace("-", MINUS)
    return without_folder(str(value))


def data(value: float, shown: str) -> Markup:
    """A number as people read it, with the exact value beside it for machines."""
    return Markup('<data value="{}">{}</data>').format(repr(float(value)), shown)


def date(seconds: int) -> str:
    """Seconds since 1970, UTC, as a date."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def without_folder(name: str) -> str:
    """The last part of an absolute path; anything else as it is. A report must not depend on the machine that made it."""
    if PurePath(name).is_absolute() and name != "/":
        return PurePath(name).name
    if PureWindowsPath(name).is_absolute():
        return PureWindowsPath(name).name
    return name


def shortened(title: str, most: int = 110) -> str:
    """A title of bounded length."""
    return title if len(title) <= most else title[: most - 1].rstrip() + "…"
