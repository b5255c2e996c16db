"""Profile sections `source` and `ingest`: what to read, and how to clean, filter and split it."""

from typing import Literal

from pydantic import Field

from bbqrec_core.config import Section, Share, local_field


class ShopConfig(Section):
    """The synthetic shop that stands in for real data when there is none."""

    users: int = Field(1000, ge=10)
    items: int = Field(600, ge=10)


class SourceConfig(Section):
    """Where raw data comes from."""

    kind: Literal["synthetic", "amazon"] = "amazon"
    raw: str | None = local_field(None, description="folder of raw files; unset = environment variable BBQREC_RAW")
    reviews: str = Field("", description="review file, relative to the raw folder")
    metadata: str = Field("", description="metadata file, relative to the raw folder")
    images: str | None = Field(None, description="folder of pictures named <item_id>.jpg, relative to the raw folder")
    urls: dict[str, str] = Field({}, description="where a user can get `reviews` and `metadata`")
    note: str = Field("", description="what a reader of results must know of this data, such as 'a fragment'")
    shop: ShopConfig = ShopConfig()


class IngestConfig(Section):
    """From raw lines to sequences."""

    k_user: int = Field(5, ge=1, description="k-core: least interactions of a user")
    k_item: int = Field(5, ge=1, description="k-core: least interactions of an item")
    max_reject_share: Share = Field(0.05, description="stop when more of the lines read are unusable")
    keep_reject_text: bool = False
    max_image_pixels: int = Field(40_000_000, ge=1, description="larger pictures count as unreadable")
    memory_limit: str = local_field("4GB", pattern=r"^\d+(\.\d+)?(MB|GB)$", description="DuckDB's; it spills to disk beyond")
