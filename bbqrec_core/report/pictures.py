"""Small pictures of items, embedded into the page once each.

A picture that cannot be read or is not the one that ingest saw is left out: the title stands for it then.
"""

import base64
import hashlib
import io
import logging
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import SourceConfig
from bbqrec_core.ingest.sources import image_folder
from bbqrec_core.pictures import DECODER_ERRORS, converted

JPEG_QUALITY = 78
BACKGROUND = (255, 255, 255)

log = logging.getLogger(__name__)


def picture_folder(source: SourceConfig, shop: Path | None) -> Path | None:
    """The source's folder of pictures, or None where there is none (any more)."""
    try:
        return image_folder(source, shop)
    except SourceError as error:
        log.warning("The report goes without pictures: %s", error.problem)
        return None


@dataclass
class Pictures:
    """Makes thumbnails within a budget of bytes.

    Attributes:
        folder: Where pictures are; None for none at all.
        pixels: Longer side of a thumbnail; twice as many are stored, for sharp screens.
        budget: Most bytes that all thumbnails may take in the page.
        encoded: Data URIs by the name of their CSS class.
        taken: Bytes that thumbnails take so far.
        left_out: How many did not fit the budget.
    """

    folder: Path | None
    pixels: int
    budget: int
    encoded: dict[str, str] = field(default_factory=dict)
    taken: int = 0
    left_out: int = 0
    _names: dict[str, str] = field(default_factory=dict)

    def name_for(self, image_file: str | None, sha256: str | None) -> str:
        """CSS class of a picture, made on first use; empty where there is no picture to show.

        Args:
            image_file: Relative to the folder.
            sha256: What ingest saw; another picture under the same name is not shown.
        """
        if self.folder is None or not image_file:
            return ""
        if image_file not in self._names:
            self._names[image_file] = self._encode(self.folder / image_file, sha256)
        return self._names[image_file]

    def _encode(self, path: Path, sha256: str | None) -> str:
        try:
            content = path.read_bytes()
            if sha256 and hashlib.sha256(content).hexdigest() != sha256:
                log.warning("%s has changed since it was read: not shown in the report.", path.name)
                return ""
            uri = f"data:image/jpeg;base64,{base64.b64encode(_thumbnail(content, 2 * self.pixels)).decode('ascii')}"
        except (*DECODER_ERRORS, Image.DecompressionBombError) as error:
            log.warning("%s cannot be shown in the report: %s", path.name, error)
            return ""
        if self.taken + len(uri) > self.budget:
            self.left_out += 1
            return ""
        self.taken += len(uri)
        name = f"pic{len(self.encoded)}"
        self.encoded[name] = uri
        return name


def _thumbnail(content: bytes, pixels: int) -> bytes:
    with Image.open(io.BytesIO(content)) as picture:
        picture.draft("RGB", (pixels, pixels))
        small = converted(picture, "RGBA")
    small.thumbnail((pixels, pixels))
    flat = Image.new("RGB", small.size, BACKGROUND)
    flat.paste(small, mask=small.getchannel("A"))
    out = io.BytesIO()
    flat.save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return out.getvalue()
