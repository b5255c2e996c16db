"""What a stage is given and what it gives back.

A stage is a plain function `run(context) -> statistics`: it reads its inputs' directories, writes its tables into `context.out`, and
returns one row of numbers for its gate. It knows nothing of the store, of flows, or of who called it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bbqrec_core.errors import StageError

if TYPE_CHECKING:  # reading profiles needs YAML, which a bare PyTorch box need not have
    from bbqrec_core.profile import Profile

Scalar = str | int | float | bool | None
Statistics = dict[str, Scalar]


@dataclass(frozen=True)
class StageContext:
    """Where a stage finds things.

    Attributes:
        profile: The whole profile; a stage reads only the sections that its declaration names.
        inputs: Directories of the artifacts it stands on, by stage name. Read-only.
        out: An empty directory for its files. It becomes the artifact when `run` returns.
        scratch: A directory that outlives a crash of this very stage, for checkpoints and shards. Emptied once the artifact stands.
    """

    profile: "Profile"
    inputs: Mapping[str, Path]
    out: Path
    scratch: Path

    def input(self, stage: str) -> Path:
        """The directory of an input artifact."""
        try:
            return self.inputs[stage]
        except KeyError:
            raise StageError(f"This stage was not given the output of `{stage}`.", "Declare it among the stage's inputs.") from None
