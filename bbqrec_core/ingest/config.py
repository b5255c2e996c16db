"""Profile sections `source` and `ingest`: what to read, and how to clean, filter and split it."""

from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from bbqrec_core.config import Section, local_field


def _as_text(moment: Any) -> Any:
    """YAML takes a date without quotes for one."""
    if isinstance(moment, datetime):
        if moment.time() != time() or moment.tzinfo is not None:
            raise ValueError("a moment is a date such as 2018-06-30, without a time of day")
        moment = moment.date()
    return moment.isoformat() if isinstance(moment, date) else moment


def _share_or_date(moment: float | str) -> float | str:
    if isinstance(moment, str):
        try:
            return date.fromisoformat(moment).isoformat()  # it may come as 20180630
        except ValueError:
            raise ValueError("a moment is a date such as 2018-06-30, or a quantile of all times, between 0 and 1") from None
    elif not 0 < moment < 1:
        raise ValueError("a quantile of all times lies between 0 and 1; a date is written 2018-06-30")
    return moment


Moment = Annotated[float | str, BeforeValidator(_as_text), AfterValidator(_share_or_date)]
"""A moment on the line of time: a quantile of all interactions' times, or a date (UTC)."""
Files = str | list[str]
"""A file, a pattern such as `reviews_*.jsonl.gz`, or a list of either, relative to the raw folder."""


class ShopConfig(Section):
    """The synthetic shop that stands in for real data when there is none."""

    users: int = Field(1000, ge=10)
    items: int = Field(600, ge=10)


class InteractionColumns(Section):
    """How a table of interactions names what is needed."""

    user_id: str = "user_id"
    item_id: str = "item_id"
    timestamp: str = "timestamp"
    rating: str | None = Field(None, description="unset = the shop has no ratings")


class ItemColumns(Section):
    """How a table of items names what is needed; unset = the shop does not have it."""

    item_id: str = "item_id"
    title: str | None = None
    brand: str | None = None
    categories: str | None = Field(None, description="a list of texts, or one text")
    description: str | None = None
    price: str | None = Field(None, description="a number, or text such as $12.34")
    image: str | None = Field(None, description="an address, or a path relative to source.images")


class TablesConfig(Section):
    """Any shop's own tables, for kind `tables`: Parquet, CSV or JSON lines, told by their content."""

    interactions: Files = Field("", description="files of interactions, relative to the raw folder")
    items: Files = Field("", description="files of items, relative to the raw folder; empty = nothing is known of items")
    interaction_columns: InteractionColumns = InteractionColumns()
    item_columns: ItemColumns = ItemColumns()
    time_unit: Literal["s", "ms", "us", "ns"] = Field(
        "s", description="of times given as numbers; dates and texts such as 2024-05-01 speak for themselves"
    )


class SequencesConfig(Section):
    """A published research split, for kind `sequences`: each user's items in order, which stands in for time."""

    sequences: str = Field(
        "", description="*.inter.json, .txt (a user and its items a line) or JSON lines with a list, relative to the raw folder"
    )
    user_field: str | None = Field(None, description="JSON lines: the field of the user; unset = the one that is not the list")
    items_field: str | None = Field(None, description="JSON lines: the field of the items; unset = the one that is a list")
    item2id: str | None = Field(None, description="an item's own name and its number in the sequences, a line each")
    items: str | None = Field(None, description="what is known of items: .item.json, or JSON lines in a known dialect")
    text_codes: str | None = Field(None, description="published semantic IDs of the text modality, *.index*.json")
    image_codes: str | None = Field(None, description="published semantic IDs of the image modality, *.index*.json")
    codes_item2id: str | None = Field(None, description="names of the codes' items, if codes number items otherwise than the sequences do")

    @model_validator(mode="after")
    def _of_some_codes(self) -> "SequencesConfig":
        if self.codes_item2id and not (self.text_codes or self.image_codes):
            raise ValueError("codes_item2id names the items of text_codes or image_codes, and neither is given")
        return self


class DownloadConfig(Section):
    """How `bbqrec fetch` gets files. Nothing here changes what is computed from them."""

    base_url: str | None = local_field(None, description="a mirror: <base_url>/<path in the raw folder> is fetched instead of source.urls")
    allow_private_addresses: bool = local_field(
        False, description="fetch raw files from loopback, private and link-local addresses too: those of source.urls and base_url"
    )
    allow_private_pictures: bool = local_field(
        False,
        description="the same for pictures, whose addresses come from data: whoever wrote it may have this machine ask its own services",
    )
    max_file_bytes: int = local_field(100_000_000_000, ge=1, description="a larger raw file is refused")
    max_image_bytes: int = local_field(16_000_000, ge=1, description="a larger picture is refused")
    connections: int = local_field(32, ge=1, le=256, description="downloads at once")
    connections_per_host: int = local_field(8, ge=1, le=256, description="of those, at most so many from one host")
    attempts: int = local_field(5, ge=1, le=20, description="tries of an address that stalls, answers 429 or 5xx, or breaks off")
    timeout_seconds: float = local_field(30.0, gt=0, description="longest silence of a server")


class SourceConfig(Section):
    """Where raw data comes from."""

    kind: Literal["synthetic", "amazon", "tables", "sequences"] = "amazon"
    raw: str | None = local_field(
        None, description="folder of raw files; unset = environment variable BBQREC_RAW, or what `bbqrec fetch` got"
    )
    reviews: Files = Field("", description="review files, relative to the raw folder")
    metadata: Files = Field("", description="metadata files, relative to the raw folder")
    images: str | None = Field(None, description="folder of pictures named <item_id>.jpg, relative to the raw folder")
    tables: TablesConfig = TablesConfig()
    sequences: SequencesConfig = SequencesConfig()
    urls: dict[str, str] = Field(
        {}, description="where files can be had: by `reviews`, `metadata`, `tables.items` and the like, or path in the raw folder"
    )
    download: DownloadConfig = DownloadConfig()
    note: str = Field("", description="what a reader of results must know of this data, such as 'a fragment'")
    shop: ShopConfig = ShopConfig()


class SplitConfig(Section):
    """Which interactions are train, validation and test."""

    kind: Literal["leave_one_out", "temporal"] = Field(
        "leave_one_out", description="each user's last and last but one; or everything after a moment that is the same for all"
    )
    valid_from: Moment = Field(0.8, description="temporal: quantile of all times, or date (UTC), at which validation begins")
    test_from: Moment = Field(0.9, description="temporal: the same for test")
    max_history: int | None = Field(None, ge=1, le=1_000_000, description="latest items kept in a history; unset = all")
    held_out_items: float = Field(
        0.0, ge=0, le=0.5, description="share of the items, drawn by data_seed, whose purchases train is not told of: to measure new items"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "SplitConfig":
        valid, test = self.valid_from, self.test_from
        if isinstance(valid, str) and isinstance(test, str):
            in_order = date.fromisoformat(valid) < date.fromisoformat(test)
        else:  # of a date and a quantile the data must tell
            in_order = isinstance(valid, str) or isinstance(test, str) or valid < test
        if not in_order:
            raise ValueError(f"valid_from ({self.valid_from}) must come before test_from ({self.test_from})")
        return self


class IngestConfig(Section):
    """From raw lines to sequences."""

    k_user: int = Field(5, ge=1, le=1_000_000, description="k-core: least interactions of a user")
    k_item: int = Field(5, ge=1, le=1_000_000, description="k-core: least interactions of an item")
    min_rating: float | None = Field(None, description="reviews rated lower are filtered; unset = all count")
    deduplicate: bool = Field(True, description="keep only the earliest interaction of a user with an item")
    split: SplitConfig = SplitConfig()
    use_cut_files: bool = Field(
        False, description="of a file that is cut off, use the whole lines before the cut, and tag all results `partial`"
    )
    keep_reject_text: bool = Field(False, description="keep the text of lines that cannot be used, beside their hash")
    max_image_pixels: int = Field(40_000_000, ge=1, description="larger pictures count as unreadable")
    memory_limit: str = local_field("4GB", pattern=r"^\d+(\.\d+)?(MB|GB)$", description="DuckDB's; it spills to disk beyond")
