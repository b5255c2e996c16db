"""What a check says."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Attributes:
        about: What was looked at.
        level: ok; warning: works, but read on; problem: something will fail.
        found: What is the case.
        way_out: What to do about it; empty where nothing is to be done.
    """

    about: str
    level: Level
    found: str
    way_out: str = ""
