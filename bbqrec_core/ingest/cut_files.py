"""What is done with a file that is cut off: it stops the stage, or its beginning is used, as the profile wants.

How a file is read does not belong here.
"""

import logging
from collections.abc import Callable

from bbqrec_core.ingest.config import IngestConfig
from bbqrec_core.ingest.damage import DamagedSourceError
from bbqrec_core.ingest.intake import Books, Intake, Reject

log = logging.getLogger(__name__)

Read = Callable[[int | None], int]
"""Reads a file into the books, or only so many decompressed bytes of it; returns where the last line read ends."""


def read_or_use_beginning(books: Books, intake: Intake, config: IngestConfig, read: Read, unit: str = "lines") -> None:
    """Read a file; if it is cut off and the profile wants it, use the whole lines, or entries, before the cut.

    Args:
        books: Where what is read is kept, and forgotten again when damage is met.
        intake: The file.
        config: Says whether the beginning of a cut file is used.
        read: Reads it.
        unit: What the file's lines are counted as.

    Raises:
        DamagedSourceError: The file is cut or altered, and is not to be used, or nothing of it can be.
    """
    try:
        read(None)
    except DamagedSourceError as error:
        if not config.use_cut_files or not error.damage.usable_bytes:
            raise
        log.warning("%s %s; only the whole %s before that are used", intake.name, error.damage.problem, unit)
        books.take_back(intake)
        end = read(error.damage.usable_bytes)
        if not intake.lines:
            raise
        intake.damage = f"{intake.name} {error.damage.problem}; only the {intake.lines:,} whole {unit} before that were used"
        books.reject(intake, [Reject(None, end, f"the file {error.damage.problem}")])
