"""`bbqrec fetch`: get a profile's raw files and pictures."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cli.console import err, out, printable, show_logs
from cli.overrides import parse_overrides

if TYPE_CHECKING:
    from bbqrec_core.download.images import PictureSummary
    from bbqrec_core.download.raw import FileOutcome

MOST_REASONS = 10
STATUS = {"fetched": "fetched", "there": "there already", "foreign": "there, not by fetch: left as it is", "failed": "FAILED"}


def fetch(
    profile: Annotated[str, typer.Argument(help="a shipped profile's name, or the path of a YAML file")],
    base_url: Annotated[str | None, typer.Option(help="a mirror: get raw files from <base url>/<path in the raw folder>")] = None,
    images: Annotated[bool, typer.Option(help="get the items' pictures too, if the profile names a folder for them")] = True,
    again: Annotated[bool, typer.Option("--again", help="ask again for pictures that servers said they do not have")] = False,
    set_: Annotated[list[str], typer.Option("--set", "-s", help="override a field, such as --set ingest.k_item=10; repeatable")] = [],  # noqa: B006
) -> None:
    """Get PROFILE's raw files, and the pictures of its items. What is there is not fetched again; what was begun is gone on with."""
    from bbqrec_core.home import home_folder
    from bbqrec_core.store import ArtifactStore
    from flows.parameters import resolve
    from tasks.fetch import fetch_profile

    loaded = resolve(profile, parse_overrides(set_))
    if base_url is not None:
        download = loaded.source.download.model_copy(update={"base_url": base_url})
        loaded = loaded.model_copy(update={"source": loaded.source.model_copy(update={"download": download})})
    show_logs()
    fetched = fetch_profile(loaded, ArtifactStore(home_folder()), images, again)
    out.print(f"Raw files in {fetched.folder}:", soft_wrap=True)
    for file in fetched.files:
        _show_file(file)
    if fetched.pictures is not None:
        _show_pictures(fetched.pictures, fetched.without_address)
    failed = [file for file in fetched.files if file.status == "failed"]
    if failed:
        err.print(f"\n{len(failed)} raw file(s) could not be had. The same command goes on from where this one ended.", style="bold red")
        raise typer.Exit(1)


def _show_file(file: "FileOutcome") -> None:
    size = f", {file.bytes:,} bytes" if file.bytes is not None else ""
    digest = f", sha256 {file.sha256}" if file.sha256 else ""
    style = "red" if file.status == "failed" else ""
    out.print(Text.assemble(f"  {file.path}: ", (STATUS[file.status], style), size, digest), soft_wrap=True)
    if file.reason:
        out.print(f"    {printable(file.reason)}", style=style or "yellow", soft_wrap=True)
    if file.way_out:
        out.print(f"    {file.way_out}", style="green", soft_wrap=True)


def _show_pictures(pictures: "PictureSummary", without_address: int) -> None:
    out.print(
        f"Pictures: {pictures.fetched:,} fetched ({pictures.bytes:,} bytes), {pictures.there:,} there already, "
        f"{pictures.missing:,} gone from their servers, {pictures.failed:,} failed; of {without_address:,} items no address is known.",
        soft_wrap=True,
    )
    for reason, count in pictures.reasons.most_common(MOST_REASONS):
        out.print(f"  {count:,}: {printable(reason)}", style="yellow", soft_wrap=True)
    if (more := len(pictures.reasons) - MOST_REASONS) > 0:
        out.print(f"  and {more:,} other reasons", style="yellow")
    out.print(f"  Each one's fate, with its address: {pictures.list_file}", soft_wrap=True)
