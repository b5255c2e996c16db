"""Counts interactions over time, in steps that suit the whole range: days, weeks, months, quarters or years, all UTC.

How the counts are drawn does not belong here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

MOST_STEPS = 96
"""Of a shorter unit that would need more, the next longer one is taken."""
MOST_TICKS = 9
ENOUGH_TICKS = 4


@dataclass(frozen=True)
class Step:
    """A step of time.

    Attributes:
        name: Such as 2018-03-01, `week from 2018-02-26`, 2018-03, `2018 Q1` or 2018.
        tick: What is written at the axis below it; empty for most.
        counts: Interactions, one number per part.
    """

    name: str
    tick: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """A moment between two parts.

    Attributes:
        name: What begins here.
        date: When, as a date.
        place: Where among the steps: 2.5 is the middle of the third.
    """

    name: str
    date: str
    place: float


@dataclass(frozen=True)
class Timeline:
    """Interactions over time.

    Attributes:
        unit: day, week, month, quarter, year, or such as `5 years`.
        steps: In order of time, without gaps.
        cuts: Moments between parts that lie within the steps.
    """

    unit: str
    steps: list[Step]
    cuts: list[Cut]


@dataclass(frozen=True)
class _Unit:
    """Periods of `size` days or months, counted from 1970; days are shifted by `offset`, so that weeks begin on Mondays."""

    name: str
    base: Literal["D", "M"]
    size: int
    offset: int = 0

    def periods(self, times: np.ndarray) -> np.ndarray:
        return (times.astype("datetime64[s]").astype(f"datetime64[{self.base}]").astype(np.int64) + self.offset) // self.size

    def starts(self, periods: np.ndarray) -> np.ndarray:
        return (periods * self.size - self.offset).astype(f"datetime64[{self.base}]")


def _units() -> list[_Unit]:
    days, months = [("day", 1, 0), ("week", 7, 3)], [("month", 1), ("quarter", 3), ("year", 12)]
    months += [(f"{years:,} years", 12 * years) for power in (1, 10, 100, 1000) for years in (2 * power, 5 * power, 10 * power)]
    return [_Unit(name, "D", size, offset) for name, size, offset in days] + [_Unit(name, "M", size) for name, size in months]


def count_over_time(times: np.ndarray, parts: np.ndarray, n_parts: int, cuts: Mapping[str, int | None]) -> Timeline | None:
    """Count interactions per step and part.

    Args:
        times: Seconds since 1970, UTC; shape (interactions,).
        parts: The part of each, from 0; the same shape.
        n_parts: How many parts there are.
        cuts: What begins when, seconds since 1970.

    Returns:
        None without interactions.
    """
    if not len(times):
        return None
    ends = np.array([times.min(), times.max()], np.int64)
    for unit in _units():
        first, last = unit.periods(ends)
        if last - first < MOST_STEPS:
            break
    n_steps = int(last - first) + 1
    places = unit.periods(times) - first
    counts = np.bincount(places * n_parts + parts, minlength=n_steps * n_parts).reshape(n_steps, n_parts)
    borders = unit.starts(np.arange(first, last + 2))
    steps = [
        Step(name, tick, tuple(row)) for name, tick, row in zip(_names(unit, borders), _ticks(borders[:-1]), counts.tolist(), strict=True)
    ]
    seconds = borders.astype("datetime64[s]").astype(np.int64)
    within = [
        Cut(name, str(np.datetime64(moment, "s").astype("datetime64[D]")), float(np.interp(moment, seconds, np.arange(n_steps + 1))))
        for name, moment in cuts.items()
        if moment is not None and seconds[0] < moment < seconds[-1]
    ]
    return Timeline(unit.name, steps, within)


def _names(unit: _Unit, borders: np.ndarray) -> list[str]:
    starts = [str(start) for start in borders[:-1]]
    if unit.name == "week":
        return [f"week from {start}" for start in starts]
    if unit.name == "quarter":
        return [f"{start[:-3]} Q{int(start[-2:]) // 3 + 1}" for start in starts]
    if unit.name == "year":
        return [start[:-3] for start in starts]
    if unit.base == "M" and unit.size > 12:
        return [f"{start[:-3]} to {int(str(end)[:-3]) - 1}" for start, end in zip(starts, borders[1:], strict=True)]
    return starts


def _ticks(starts: np.ndarray) -> list[str]:
    """Names for a few of the steps: of years if there are enough, else of months, else of the steps themselves."""
    days, longest = [str(start) for start in starts.astype("datetime64[D]")], 10
    levels: tuple[Callable[[str], str], ...] = (lambda day: day[:-6], lambda day: day[:-3], lambda day: day)
    for level in levels:
        names = [level(day) for day in days]
        # The first step begins a year or a month only by its name: what came before it is not known.
        fresh = [place for place, name in enumerate(names) if (names[place - 1] != name if place else _begins(days[0], name))]
        if len(fresh) >= ENOUGH_TICKS:
            break
    most = MOST_TICKS if len(names[0]) < longest else MOST_TICKS - 2
    thinned = (_thinned(fresh, names, every, level is levels[0]) for power in (1, 10, 100, 1000) for every in (power, 2 * power, 5 * power))
    shown = next(places for places in thinned if len(places) <= most)
    return [name if place in shown else "" for place, name in enumerate(names)]


def _thinned(places: list[int], names: list[str], every: int, are_years: bool) -> list[int]:
    """Every so many places; of years the round ones."""
    return [place for place in places if int(names[place]) % every == 0] or places[:1] if are_years else places[::every]


def _begins(day: str, name: str) -> bool:
    return f"{name}-01-01".startswith(day)
