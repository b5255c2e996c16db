"""Asking a registered model: for known users, for histories given, or for everybody into a file.

A registered model is whole: it answers for any history, and knows its items' titles, without the raw files and the artifacts it was made
from. Only the histories of known users are looked up in the store, in the data that the model has learned from.
"""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.errors import ArtifactError, ServiceError, SourceError
from bbqrec_core.home import home_folder
from bbqrec_core.profile import Profile
from bbqrec_core.store import ArtifactRef, ArtifactStore
from serving.limits import MAX_HISTORY
from tasks.model_process import ModelFailure, ModelProcess, ModelRefusal, model_process
from tasks.plan import make_plan
from tasks.register import ARTIFACT_TAG
from tasks.tracking import connect

BATCH = 1024


@dataclass(frozen=True)
class RegisteredModel:
    """A version of a registered model, loaded, with the code that it carries.

    Attributes:
        uri: Its address in MLflow.
        process: Where it answers.
        titles: Title of each item of its catalogue, None where it has none; empty for a model that carries no titles.
        ingest: The artifact whose data it has learned from; None for a version that does not say.
    """

    uri: str
    process: ModelProcess
    titles: dict[str, str | None]
    ingest: ArtifactRef | None


@contextmanager
def registered_model(profile: Profile, alias: str, run: str) -> Iterator[RegisteredModel]:
    """Load a registered version by its alias; it is there until the block ends.

    Args:
        profile: Whose model.
        alias: champion, challenger or previous, or one that somebody set by hand.
        run: The command that makes it, for the way out of an error.

    Raises:
        ServiceError: There is none, it cannot be loaded, or MLflow cannot be reached.
    """
    client = connect()
    import mlflow

    name, make = profile.model_name, f"Make it: {run}"
    if not client.search_registered_models(f"name = '{name}'"):
        raise ServiceError(f"There is no registered model {name} yet.", make)
    aliases = client.get_registered_model(name).aliases
    if alias not in aliases:
        there = ", ".join(f"{one} (version {version})" for one, version in sorted(aliases.items()))
        raise ServiceError(f"No version of {name} is {alias}.", f"There are: {there}." if there else make)
    uri = f"models:/{name}/{aliases[alias]}"
    with model_process() as process:
        try:
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
            process.load(str(folder))
        except (mlflow.MlflowException, OSError, ModelFailure) as error:
            raise ServiceError(
                f"{uri}, which is {alias}, is registered but cannot be loaded: {error}", f"Look with `bbqrec doctor`. {make}"
            ) from None
        fingerprint = client.get_model_version(name, aliases[alias]).tags.get(f"{ARTIFACT_TAG}ingest")
        ingest = None if fingerprint is None else ArtifactRef(stage="ingest", fingerprint=fingerprint)
        yield RegisteredModel(f"models:/{name}@{alias}", process, _titles(folder), ingest)


def _titles(folder: Path) -> dict[str, str | None]:
    """Titles of the items table that a model carries, in the folder that MLflow keeps it in."""
    path = folder / "artifacts" / "items.parquet"
    if not path.is_file():
        return {}
    table = pq.read_table(path, columns=[schema.ITEM_ID, "title"])
    return dict(zip(table[schema.ITEM_ID].to_pylist(), table["title"].to_pylist(), strict=True))


def ask(model: RegisteredModel, histories: list[list[str]], k: int) -> list[dict[str, Any]]:
    """Ask a model for its recommendations: per history items, scores, unknown (see `serving/model.py`).

    Raises:
        ServiceError: The model refuses the request, or fails.
    """
    try:
        return model.process.ask(histories, k)
    except ModelRefusal as error:
        raise ServiceError(f"{model.uri} refuses the request: {error}", "Correct it, and ask again.") from None
    except ModelFailure as error:
        raise ServiceError(f"{model.uri} fails: {error}", "See the lines above; `bbqrec doctor` looks at memory and versions.") from None


def known_histories(model: RegisteredModel, profile: Profile, run: str) -> dict[str, list[str]]:
    """Every user's sequence of item IDs, in time order, by the shop's user ID; of very long ones the most recent part.

    Args:
        model: Users are those of the data that it has learned from, while that is in the store.
        profile: Where it is not, those of the profile's data as it stands now.
        run: The command that makes it, for the way out of an error.

    Raises:
        SourceError: The raw files are missing, which name the data that users are looked up in.
        ArtifactError: The profile as it stands now was never run.
    """
    learned_from = None if model.ingest is None else ArtifactStore(home_folder()).lookup(model.ingest)
    folder = _ingest(profile, run) if learned_from is None else learned_from.path
    table = pq.read_table(folder / "interactions.parquet", columns=[schema.USER_ID, schema.ITEM_ID, "position"])
    table = table.sort_by([(schema.USER_ID, "ascending"), ("position", "ascending")])
    grouped = table.group_by(schema.USER_ID, use_threads=False).aggregate([(schema.ITEM_ID, "list")])
    sequences = (items[-MAX_HISTORY:] for items in grouped[f"{schema.ITEM_ID}_list"].to_pylist())
    return dict(zip(grouped[schema.USER_ID].to_pylist(), sequences, strict=True))


def require_place(path: Path) -> None:
    """See that a file can be written before the work for it begins.

    Raises:
        SourceError: Its folder is missing or closed, or the path is a folder's.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise SourceError(f"{path} is a folder: recommendations go to a file.", f"Name one in it: {path / 'recommendations.parquet'}")
    if not folder.is_dir():
        raise SourceError(f"{path} cannot be written: there is no folder {folder}.", f"Make it: mkdir -p {shlex.quote(str(folder))}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SourceError(f"{path} cannot be written: nothing may be created in {folder}.", "Name a file in a folder of your own.")


def recommend_to_file(histories: dict[str, list[str]], model: RegisteredModel, k: int, path: Path) -> int:
    """Write recommendations to a Parquet file (user_id, items, scores), whole or not at all. Returns the number of users."""
    users = list(histories)
    unfinished = path.with_name(path.name + ".part")
    columns = pa.schema([(schema.USER_ID, pa.string()), ("items", pa.list_(pa.string())), ("scores", pa.list_(pa.float64()))])
    try:
        with pq.ParquetWriter(unfinished, columns) as writer:
            for start in range(0, len(users), BATCH):
                batch = users[start : start + BATCH]
                answers = ask(model, [histories[user] for user in batch], k)
                table = {schema.USER_ID: batch} | {name: [answer[name] for answer in answers] for name in ("items", "scores")}
                writer.write_table(pa.table(table, schema=columns))
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(users)


def _ingest(profile: Profile, run: str) -> Path:
    store = ArtifactStore(home_folder())
    try:
        ref = make_plan(profile, store)["ingest"].ref
    except SourceError as error:
        raise SourceError(
            f"The users of '{profile.name}' are looked up by its raw files, and those are not there. {error.problem}",
            f"A history of your own needs no raw files: --history ITEM,ITEM. {error.way_out}",
        ) from None
    artifact = store.lookup(ref)
    if artifact is None:
        raise ArtifactError(
            f"The users of '{profile.name}' are not known: its `ingest` as it stands now ({ref}) does not exist.",
            f"Run it: {run}. A history of your own goes without: --history ITEM,ITEM.",
        )
    return artifact.path
