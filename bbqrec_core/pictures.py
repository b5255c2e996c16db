"""Decoding pictures from anywhere: what damaged bytes raise, and what every mode becomes."""

import numpy as np
from PIL import Image

MAX_FILE_BYTES = 1 << 26
DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError, AssertionError)
"""What Pillow's decoders raise on bytes that are no sound picture."""
DEEP_GREY = ("I", "I;16", "I;16B", "I;16L")
"""Modes of 16 bits a pixel, which Pillow would cut at 255 and not scale: nearly every such picture would be white."""


def converted(image: Image.Image, mode: str) -> Image.Image:
    """Decode a picture to a mode of 8 bits a channel; of a moving one the first frame.

    Args:
        image: Opened, not decoded.
        mode: Pillow's, such as RGB.

    Raises:
        DECODER_ERRORS: It is damaged.
    """
    if image.mode in DEEP_GREY:
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    return image.convert(mode)
