"""Asking a registered model: for known users, for histories given, or for everybody into a file."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.errors import ServiceError
from bbqrec_core.home import home_folder
from bbqrec_core.profile import Profile
from bbqrec_core.store import ArtifactStore
from tasks.plan import make_plan
from tasks.tracking import connect

BATCH = 1024


def registered_model(profile: Profile, alias: str) -> Any:
    """Load a registered version by its alias.

    Raises:
        ServiceError: There is none, or MLflow cannot be reached.
    """
    connect()
    import mlflow

    uri = f"models:/{profile.model_name}@{alias}"
    try:
        return mlflow.pyfunc.load_model(uri)
    except mlflow.MlflowException as error:
        raise ServiceError(f"{uri} cannot be loaded: {error.message}", f"Make it first: bbqrec run {profile.name}") from None


def ask(model: Any, histories: list[list[str]], k: int) -> list[dict[str, Any]]:
    """Ask a model for its recommendations: per history items, scores, unknown (see `serving/model.py`)."""
    import pandas as pd

    return model.predict(pd.DataFrame({"history": histories}), params={"k": k}).to_dict("records")


def known_histories(profile: Profile) -> dict[str, list[str]]:
    """Every user's whole sequence of item IDs, in time order, by the shop's user ID."""
    table = pq.read_table(_ingest(profile) / "interactions.parquet", columns=[schema.USER_ID, schema.ITEM_ID, "position"])
    table = table.sort_by([(schema.USER_ID, "ascending"), ("position", "ascending")])
    grouped = table.group_by(schema.USER_ID, use_threads=False).aggregate([(schema.ITEM_ID, "list")])
    return dict(zip(grouped[schema.USER_ID].to_pylist(), grouped[f"{schema.ITEM_ID}_list"].to_pylist(), strict=True))


def titles(profile: Profile) -> dict[str, str | None]:
    """Title of each item."""
    table = pq.read_table(_ingest(profile) / "items.parquet", columns=[schema.ITEM_ID, "title"])
    return dict(zip(table[schema.ITEM_ID].to_pylist(), table["title"].to_pylist(), strict=True))


def recommend_to_file(profile: Profile, model: Any, k: int, path: Path) -> int:
    """Write everybody's recommendations to a Parquet file (user_id, items, scores), whole or not at all. Returns the number of users."""
    histories = known_histories(profile)
    users = list(histories)
    unfinished = path.with_name(path.name + ".part")
    columns = pa.schema([(schema.USER_ID, pa.string()), ("items", pa.list_(pa.string())), ("scores", pa.list_(pa.float64()))])
    with pq.ParquetWriter(unfinished, columns) as writer:
        for start in range(0, len(users), BATCH):
            batch = users[start : start + BATCH]
            answers = ask(model, [histories[user] for user in batch], k)
            table = {schema.USER_ID: batch} | {name: [answer[name] for answer in answers] for name in ("items", "scores")}
            writer.write_table(pa.table(table, schema=columns))
    unfinished.rename(path)
    return len(users)


def _ingest(profile: Profile) -> Path:
    store = ArtifactStore(home_folder())
    return store.require(make_plan(profile, store)["ingest"].ref).path
