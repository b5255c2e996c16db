"""How it is told that a file to be read is cut or altered: what is wrong, how much of it came out whole, and what can be done.

What is done about it is in `cut_files.py`.
"""

from pathlib import Path

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.decompress import DamagedFileError


class DamagedSourceError(SourceError):
    """A file is cut or altered.

    Args:
        path: The file.
        damage: What is wrong with it.
        whole: Lines, or entries, that came out whole before the damage was met.
        unit: What they are: "line" or "entry".

    Attributes:
        path: The file.
        damage: What is wrong with it.
    """

    def __init__(self, path: Path, damage: DamagedFileError, whole: int, unit: str) -> None:
        units = {"line": "lines", "entry": "entries"}[unit]
        option = f"; or set ingest.use_cut_files: true, which uses the {units} before the damage and tags the results `partial`"
        super().__init__(
            f"{path} {damage.problem}. The last whole {unit} before that is number {whole:,}; nothing of the file was used.",
            f"Get the file again, and compare its size or checksum with the published one{option if damage.usable_bytes else ''}.",
        )
        self.path = path
        self.damage = damage

    def of_use_only_whole(self) -> SourceError:
        """The same, of a file of which no beginning will do."""
        return SourceError(f"{self.path} {self.damage.problem}. Nothing of the file was used.", "Get the file again.")
