"""Pictures for tests, made on the spot."""

import io

from PIL import Image


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30), kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()
