"""Reads Amazon's reviews and metadata, in whatever of their three formats each file is written."""

import functools

from bbqrec_core.ingest.config import IngestConfig
from bbqrec_core.ingest.dialects import Role, recognise
from bbqrec_core.ingest.intake import Books, Content
from bbqrec_core.ingest.line_files import read_line_file
from bbqrec_core.ingest.sources import SourceFiles

CONTENTS: tuple[tuple[Role, Content], ...] = (("reviews", "interactions"), ("metadata", "items"))


def read_amazon(books: Books, files: SourceFiles, config: IngestConfig, workers: int) -> None:
    """Read all files of reviews, then all of metadata.

    Args:
        books: Where to keep what is read.
        files: The files.
        config: How to treat cut files and rejects.
        workers: Processes for Python literals.

    Raises:
        SourceError: A file is empty, damaged, or in no known dialect.
    """
    for role, content in CONTENTS:
        for path in files.of(role):
            read_line_file(
                books, books.open(path, files.name_of(path), content), functools.partial(recognise, role=role, path=path), config, workers
            )
