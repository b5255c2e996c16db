"""`bbqrec inspect`: what an artifact holds."""

from typing import Annotated

import typer
from rich.table import Table

from bbqrec_core.errors import ArtifactError
from cli.console import out


def inspect(
    artifact: Annotated[str, typer.Argument(help="stage/fingerprint, or the beginning of one, such as ingest/3f")],
    rows: Annotated[int, typer.Option(help="show so many rows of each table")] = 0,
) -> None:
    """Verify ARTIFACT and show its files, statistics and origin."""
    import polars

    from bbqrec_core.home import home_folder
    from bbqrec_core.store import ArtifactStore

    store = ArtifactStore(home_folder())
    matches = [ref for ref in store.entries() if str(ref).startswith(artifact)]
    if len(matches) != 1:
        found = ", ".join(str(ref) for ref in matches[:10]) or ", ".join(sorted({ref.stage for ref in store.entries()})) or "nothing yet"
        problem = f"{len(matches)} artifacts begin with '{artifact}'."
        raise ArtifactError(problem, f"{'Choose one' if matches else 'The store holds'}: {found}. `bbqrec status` names a profile's.")
    found_artifact = store.require(matches[0])
    manifest = found_artifact.manifest
    out.print(f"[bold]{matches[0]}[/], verified, in {found_artifact.path}", soft_wrap=True)
    files = Table("file", "rows", "bytes", box=None, pad_edge=False)
    for name, entry in manifest["files"].items():
        files.add_row(name, f"{entry['rows']:,}" if "rows" in entry else "", f"{entry['bytes']:,}")
    out.print(files)
    for title in ("statistics", "inputs", "profile", "packages"):
        if manifest.get(title):
            out.print(f"\n[bold]{title}[/]")
            for name, value in manifest[title].items():
                out.print(f"  {name}: {value}", markup=False)
    if rows:
        for name in manifest["files"]:
            if name.endswith(".parquet"):
                out.print(f"\n[bold]{name}[/]")
                out.print(str(polars.read_parquet(found_artifact.path / name, n_rows=rows)), markup=False)
