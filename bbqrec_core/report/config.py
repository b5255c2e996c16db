"""Profile section `report`: what the HTML report shows."""

from pydantic import Field

from bbqrec_core.config import Section


class ReportConfig(Section):
    """What a reader sees; nothing here changes a number."""

    example_users: int = Field(6, ge=0, le=50, description="example users shown, at most as many as evaluation kept")
    recommendations: int = Field(10, ge=1, le=50, description="items shown of each recommendation list")
    history_items: int = Field(6, ge=1, le=100, description="most recent items shown of a history")
    thumbnails: bool = Field(True, description="show pictures of the example users' items, where there are any")
    thumbnail_pixels: int = Field(72, ge=16, le=256, description="longer side of a picture")
    max_bytes: int = Field(2_000_000, ge=200_000, description="pictures are left out, and that is said, where the report would grow larger")
