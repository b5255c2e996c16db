"""The demo encoder's own tokenizer. The model itself is an ordinary open_clip folder and is loaded as one.

Only training and tests ask for text features of the demo encoder; the pipeline embeds pictures with it, and texts with
sentence-transformers.
"""

from pathlib import Path
from typing import Any

from bbqrec_core.embedding.weights import DEMO_FOLDER

CONTEXT_LENGTH = 32
MERGES_FILE = "merges.txt.gz"


def demo_tokenizer(folder: Path = DEMO_FOLDER) -> Any:
    """open_clip's byte-pair tokenizer with the demo encoder's small vocabulary: texts to int64 [n, CONTEXT_LENGTH]."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(bpe_path=str(folder / MERGES_FILE), context_length=CONTEXT_LENGTH)
