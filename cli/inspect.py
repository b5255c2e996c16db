"""`bbqrec inspect`: what an artifact holds."""

import shlex
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from bbqrec_core.errors import ArtifactError, SourceError
from bbqrec_core.store import ArtifactRef, ArtifactStore
from cli.console import out
from cli.overrides import as_options


def inspect(
    artifact: Annotated[
        str, typer.Argument(help="profile/stage, such as demo/ingest, or stage/fingerprint, of which the beginning will do")
    ],
    set_: Annotated[list[str], typer.Option("--set", "-s", help="of a profile's: an override, as the run had it; repeatable")] = [],  # noqa: B006
    rows: Annotated[int, typer.Option(help="show so many rows of each table")] = 0,
) -> None:
    """Verify ARTIFACT and show its files, statistics and origin."""
    import polars

    from bbqrec_core.home import home_folder

    store = ArtifactStore(home_folder())
    ref = _find(artifact, set_, store)
    if not store.path(ref).is_dir():
        way_out = shlex.join(["bbqrec", "run", artifact.rpartition("/")[0], *as_options(set_), "--until", ref.stage])
        raise ArtifactError(f"The output of stage `{ref.stage}` as {artifact} has it now ({ref}) does not exist.", f"Make it: {way_out}")
    found_artifact = store.examine(ref)
    manifest = found_artifact.manifest
    out.print(Text.assemble((str(found_artifact.ref), "bold"), f", verified, in {found_artifact.path}"), soft_wrap=True)
    files = Table("file", "rows", "bytes", box=None, pad_edge=False)
    for name, entry in manifest["files"].items():
        files.add_row(name, f"{entry['rows']:,}" if "rows" in entry else "", f"{entry['bytes']:,}")
    out.print(files)
    for title in ("statistics", "inputs", "profile", "packages"):
        if manifest.get(title):
            out.print(f"\n{title}", style="bold")
            for name, value in manifest[title].items():
                out.print(f"  {name}: {value}")
    if rows:
        for name in manifest["files"]:
            if name.endswith(".parquet"):
                out.print(f"\n{name}", style="bold")
                out.print(str(polars.read_parquet(found_artifact.path / name, n_rows=rows)))


def _newest(stage: str, store: ArtifactStore) -> str:
    """A hint at the artifact of a stage that was made last, of whichever profile."""
    there = [ref for ref in store.entries() if ref.stage == stage]
    if not there:
        return f"The store holds no artifact of {stage}."
    newest = max(there, key=lambda ref: store.path(ref).stat().st_mtime)
    return f"Or name the artifact itself; of {stage} the newest, of whichever profile, is {newest}."


def _find(name: str, overrides: list[str], store: ArtifactStore) -> ArtifactRef:
    """The one artifact that a name means."""
    from bbqrec_core.profile import available_profiles
    from cli.overrides import parse_overrides
    from flows.parameters import resolve
    from tasks.plan import make_plan
    from tasks.stages import BY_NAME

    profile, _, stage = name.rpartition("/")
    if stage in BY_NAME and (profile in available_profiles() or profile.endswith((".yaml", ".yml"))):
        try:
            plan = make_plan(resolve(profile, parse_overrides(overrides)), store)
        except SourceError as error:
            again = shlex.join(["bbqrec", "inspect", name, *as_options(overrides)])
            raise ArtifactError(
                f"Which artifact {name} is depends on the raw files, and they cannot be found. {error.problem}",
                f"Set BBQREC_RAW as in the run: BBQREC_RAW=/path/to/raw {again}. {_newest(stage, store)}",
            ) from None
        if stage in plan:
            return plan[stage].ref
    if overrides:
        raise ArtifactError(f"--set says nothing of {name}, which is an artifact itself.", "Leave it away, or name a profile's stage.")
    matches = [ref for ref in store.entries() if str(ref).startswith(name)]
    if len(matches) != 1:
        there = ", ".join(str(ref) for ref in matches[:10]) or ", ".join(sorted({ref.stage for ref in store.entries()})) or "nothing yet"
        way_out = f"{'Choose one' if matches else 'The store holds'}: {there}. Or name a profile's: bbqrec inspect demo/ingest"
        raise ArtifactError(f"{len(matches)} artifacts begin with '{name}'.", way_out)
    return matches[0]
