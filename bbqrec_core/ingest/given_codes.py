"""Reads published semantic IDs, `*.index*.json`: per item a list of codes, `<a_170>` or 170, one per level.

A broken entry stops the stage: these files are small, and a code that is wrong shows nowhere else.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from bbqrec_core import schema
from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.damage import DamagedSourceError
from bbqrec_core.ingest.database import Database
from bbqrec_core.ingest.intake import Intake
from bbqrec_core.ingest.item_names import ItemNames
from bbqrec_core.ingest.json_objects import Entry, read_entries

log = logging.getLogger(__name__)

READ_CODES = pa.schema([(schema.ITEM_ID, pa.string()), (schema.TEXT, pa.list_(pa.int16())), (schema.IMAGE, pa.list_(pa.int16()))])
LARGEST_CODE = 2**15 - 1
TOKEN = re.compile(r"<([A-Za-z]+)_(\d{1,9})>|(\d{1,9})")


def read_given_codes(database: Database, given: Mapping[str, Intake], names: ItemNames) -> None:
    """Make the table `read_codes` (item_id, text, image) if there are files; needs `read_interactions`.

    Args:
        database: Where the tables are.
        given: The file of each modality that has one.
        names: Of the items that codes are given for.

    Raises:
        SourceError: An entry cannot be read, modalities differ in their number of levels, or no item of a file is in the sequences.
    """
    if not given:
        return
    codes = {modality: read_codes(intake, names) for modality, intake in given.items()}
    levels = {modality: len(next(iter(found.values()))) for modality, found in codes.items()}
    if len(set(levels.values())) > 1:
        found = ", ".join(f"{given[modality].path} has {count}" for modality, count in levels.items())
        raise SourceError(f"The published codes differ in their number of levels: {found}.", "Name files that belong together.")
    items = dict.fromkeys(item for found in codes.values() for item in found)
    rows = [{schema.ITEM_ID: item, **{modality: found.get(item) for modality, found in codes.items()}} for item in items]
    database.insert("read_codes", pa.Table.from_pylist(rows, READ_CODES))
    for modality, intake in given.items():
        [(known, all_items)] = database.rows(
            f"SELECT count({modality}), count(*) FROM (SELECT DISTINCT item_id FROM read_interactions) LEFT JOIN read_codes USING (item_id)"
        )
        if not known:
            raise SourceError(
                f"{intake.path} has codes for none of the {all_items:,} items of the sequences.",
                "Its keys must be the items' numbers, or names, as in the sequences. source.sequences.item2id translates between them, and "
                "codes_item2id where the codes number items otherwise; both must then give an item the same name.",
            )
        log.info("%s: %d levels, codes for %d of %d items", intake.name, levels[modality], known, all_items)


def read_codes(intake: Intake, names: ItemNames) -> dict[str, list[int]]:
    """The codes of each item, all with the same number of levels.

    Raises:
        SourceError: The file or an entry cannot be read; the message names the item.
    """
    intake.format = "codes, one JSON object"
    found: dict[str, list[int]] = {}
    letters: list[str] = []
    try:
        for entry in read_entries(intake.path):
            intake.lines += 1
            item, problem = names.resolve(entry.key)
            if problem is None and item in found:
                problem = "it is there twice"
            if problem is not None:
                raise _error(intake.path, entry, problem)
            pairs = _pairs(intake.path, entry)
            letters = letters or [letter for letter, _ in pairs]
            if len(pairs) != len(letters):
                raise _error(intake.path, entry, f"it has {len(pairs)} levels, the items before it have {len(letters)}")
            if [letter for letter, _ in pairs] != letters:
                raise _error(intake.path, entry, f"its levels are {', '.join(letter for letter, _ in pairs)}, not {', '.join(letters)}")
            found[item] = [code for _, code in pairs]
    except DamagedSourceError as error:  # no beginning of it will do: the items after the cut would have no codes
        raise error.of_use_only_whole() from None
    if not found:
        raise SourceError(f"{intake.path} holds no codes.", "Get the file again.")
    return found


def _pairs(path: Path, entry: Entry) -> list[tuple[str, int]]:
    """Letter of the level, if it has one, and code, of each level."""
    if not isinstance(entry.value, list) or not entry.value:
        raise _error(path, entry, "it has no list of codes")
    return [_pair(path, entry, token) for token in entry.value]


def _pair(path: Path, entry: Entry, token: Any) -> tuple[str, int]:
    match = TOKEN.fullmatch(token) if isinstance(token, str) else None
    if match:
        letter, code = match[1] or "", int(match[2] or match[3])
    elif isinstance(token, int) and not isinstance(token, bool):
        letter, code = "", token
    else:
        raise _error(path, entry, f"{token!r} is no code such as <a_170> or 170")
    if not 0 <= code <= LARGEST_CODE:
        raise _error(path, entry, f"code {code} is not between 0 and {LARGEST_CODE:,}")
    return letter, code


def _error(path: Path, entry: Entry, problem: str) -> SourceError:
    return SourceError(
        f"{path}, line {entry.line:,}, item {entry.key!r}: {problem}.",
        "Codes are {item: [code per level]}, as published, each item known by its number or name.",
    )
