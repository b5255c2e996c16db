"""The stage `register`: puts the trained model into MLflow's registry, asks it for recommendations, and decides on `champion`.

A version is found again by its fingerprint, that of the trained model: running twice, or after a crash at any line, ends with one version
per fingerprint. It is the one stage whose output lives outside the store, so `registration_holds` tells whether that is still there.
"""

import contextlib
import io
import json
import logging
import os
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from bbqrec_core import schema
from bbqrec_core.errors import ServiceError, StageError
from bbqrec_core.home import PROJECT
from bbqrec_core.stage import StageContext, Statistics
from bbqrec_core.store import Artifact
from tasks.tracking import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

RUN_VARIABLE = "BBQREC_REGISTER_RUN"
"""Environment variable that names the MLflow run the model is logged under."""
FINGERPRINT_TAG = "bbqrec.fingerprint"
DATA_TAG = "bbqrec.data"
SCORE_TAG = "bbqrec.test_ndcg_at_10"
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
REGISTRATION = "registration.json"
USERS_ASKED = 5
TOLERATED_LOSS = 0.98
"""A challenger on the same data replaces the champion unless its NDCG@10 is below this share of the champion's."""
REQUIREMENTS = ("mlflow", "torch", "numpy", "pyarrow", "pandas", "safetensors", "pydantic", "pyyaml", "tqdm", "lightning-fabric")

log = logging.getLogger(__name__)


def run(context: StageContext) -> Statistics:
    """Register, check and promote.

    Raises:
        StageError: The registered model does not answer as it must; it is then no champion.
        ServiceError: MLflow cannot be reached.
    """
    client = _connected()
    name = context.profile.model_name
    facts = _facts(context)
    version = find_version(client, name, facts[FINGERPRINT_TAG]) or _log_and_register(context, client, name, facts)
    for key, value in facts.items():  # a version found again may have been evaluated anew
        client.set_model_version_tag(name, version.version, key, value)
    checked, unknown = _ask(context, f"models:/{name}/{version.version}")
    alias = _promote(client, name, version, facts)
    _ask(context, f"models:/{name}@{alias}")  # the last check: as a user will load it
    registration = {"model_name": name, "version": int(version.version), "fingerprint": facts[FINGERPRINT_TAG]}
    (context.out / REGISTRATION).write_text(json.dumps(registration, indent=2), encoding="utf-8")
    return {
        "model_name": name,
        "version": int(version.version),
        "alias": alias,
        "recommendations_checked": checked,
        "unknown_items_recommended": unknown,
    }


def registration_holds(artifact: Artifact) -> bool:
    """Whether the version that an artifact speaks of is in the registry still."""
    registration = json.loads((artifact.path / REGISTRATION).read_text(encoding="utf-8"))
    version = find_version(_connected(), registration["model_name"], registration["fingerprint"])
    return version is not None and int(version.version) == registration["version"]


def find_version(client: "MlflowClient", name: str, fingerprint: str) -> "ModelVersion | None":
    """The registered version of a fingerprint, if there is one."""
    versions = client.search_model_versions(f"name = '{name}'", max_results=1000)
    found = [version for version in versions if version.tags.get(FINGERPRINT_TAG) == fingerprint]
    return min(found, key=lambda version: int(version.version)) if found else None


def _connected() -> "MlflowClient":
    try:
        return connect()
    except Exception as error:
        raise ServiceError(f"MLflow cannot be reached: {error}", "Check MLFLOW_TRACKING_URI, or unset it; `bbqrec doctor` looks.") from None


def _facts(context: StageContext) -> dict[str, str]:
    """Tags of the version: where it comes from and how good it is."""
    statistics = {name: pq.read_table(context.input(name) / "statistics.parquet").to_pylist()[0] for name in ("ingest", "evaluate")}
    encoders = json.loads((context.input("embed") / "encoders.json").read_text(encoding="utf-8"))
    facts = {f"bbqrec.artifact.{name}": path.name for name, path in sorted(context.inputs.items())}
    facts |= {f"bbqrec.encoder.{modality}": about["name"] for modality, about in sorted(encoders.items())}
    facts |= {
        "bbqrec.profile": context.profile.name,
        FINGERPRINT_TAG: context.input("train").name,
        DATA_TAG: context.input("ingest").name,
        SCORE_TAG: f"{statistics['evaluate']['ndcg_at_10']:.6f}",
        "bbqrec.items": str(statistics["ingest"]["items"]),
        "bbqrec.demo_encoder": str(any(about["is_demo_encoder"] for about in encoders.values())).lower(),
    }
    if context.profile.source.note:
        facts["bbqrec.data_note"] = context.profile.source.note
    return facts


def _log_and_register(context: StageContext, client: "MlflowClient", name: str, facts: dict[str, str]) -> "ModelVersion":
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    log.info("Saving the model with its catalogue, and registering it as %s", name)
    signature = ModelSignature(
        inputs=Schema([ColSpec(Array(DataType.string), "history")]),
        outputs=Schema(
            [ColSpec(Array(DataType.string), "items"), ColSpec(Array(DataType.double), "scores"), ColSpec(DataType.long, "unknown")]
        ),
        params=ParamSchema([ParamSpec("k", DataType.long, 10), ParamSpec("mask_seen", DataType.boolean, True)]),
    )
    items = context.out / "items.parquet"
    pq.write_table(pq.read_table(context.input("ingest") / "items.parquet", columns=[schema.ITEM_IDX, schema.ITEM_ID, "title"]), items)
    with mlflow.start_run(run_id=os.environ[RUN_VARIABLE]):
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(PROJECT / "serving" / "model.py"),
            artifacts={"model": str(context.input("train")), "items": str(items)},
            code_paths=[str(PROJECT / "bbqrec_core"), str(PROJECT / "serving")],
            pip_requirements=[f"{package}=={metadata.version(package)}" for package in REQUIREMENTS],
            signature=signature,
            input_example=_requests(context),
            metadata={"fingerprint": facts[FINGERPRINT_TAG]},
        )
        with contextlib.redirect_stderr(io.StringIO()):  # it announces the version there; we say it ourselves
            version = mlflow.register_model(info.model_uri, name, tags=facts)
    client.update_registered_model(name, _describe(context))
    client.update_model_version(name, version.version, f"{context.profile.description} Test NDCG@10 {facts[SCORE_TAG]}, seen items masked.")
    return version


def _describe(context: StageContext) -> str:
    return (
        f"Multi-modal sequential recommender, profile `{context.profile.name}`. {context.profile.description}\n\n"
        "Request: a column `history` of lists of item IDs, most recent last; parameters `k` and `mask_seen`. "
        "Aliases: `champion` serves, `challenger` is newer but did not replace it, `previous` is for rollback."
    )


def _requests(context: StageContext) -> Any:
    """A few real histories as a request."""
    import pandas as pd

    ids = pq.read_table(context.input("ingest") / "items.parquet", columns=[schema.ITEM_ID])[schema.ITEM_ID].to_pylist()
    histories = pq.read_table(context.input("ingest") / "test.parquet")[schema.HISTORY][:USERS_ASKED].to_pylist()
    return pd.DataFrame({"history": [[ids[item] for item in history] for history in histories]})


def _ask(context: StageContext, uri: str) -> tuple[int, int]:
    """Load a model by its address and ask it. Returns how many requests were answered, and how many items the catalogue lacks.

    Raises:
        StageError: It does not load, or an answer is empty or repeats what the user has.
    """
    import mlflow

    requests = _requests(context)
    try:
        answers = mlflow.pyfunc.load_model(uri).predict(requests, params={"k": 10})
    except Exception as error:
        raise StageError(f"The registered model {uri} does not load and answer: {error}", "It was not promoted.") from error
    catalogue = set(pq.read_table(context.input("ingest") / "items.parquet")[schema.ITEM_ID].to_pylist())
    for history, items in zip(requests["history"], answers["items"], strict=True):
        if not len(items) or set(items) & set(history):
            raise StageError(f"The registered model {uri} recommends nothing, or what the user has already.", "It was not promoted.")
    return len(answers), sum(item not in catalogue for items in answers["items"] for item in items)


def _promote(client: "MlflowClient", name: str, version: "ModelVersion", facts: dict[str, str]) -> str:
    """Decide on the alias, set it, and return it.

    The first version is champion: its data and health gates are what let it come here. A later one is too, unless it does worse
    on the very same data; the champion before it stays as `previous`.
    """
    aliases = client.get_registered_model(name).aliases
    champion = aliases.get(CHAMPION)
    if champion is not None and int(champion) == int(version.version):
        return CHAMPION
    if champion is not None and int(aliases.get(PREVIOUS, -1)) == int(version.version):
        return PREVIOUS  # somebody rolled back from it on purpose
    if champion is not None and not _replaces(client.get_model_version(name, champion), facts):
        client.set_registered_model_alias(name, CHALLENGER, version.version)
        log.warning("Version %s is below the champion (version %s) on the same data: it stays challenger.", version.version, champion)
        return CHALLENGER
    if champion is not None:
        client.set_registered_model_alias(name, PREVIOUS, champion)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    if aliases.get(CHALLENGER) is not None and int(aliases[CHALLENGER]) == int(version.version):
        client.delete_registered_model_alias(name, CHALLENGER)
    return CHAMPION


def _replaces(champion: "ModelVersion", facts: dict[str, str]) -> bool:
    if champion.tags.get(DATA_TAG) != facts[DATA_TAG]:
        return True  # newer data: the two scores are not comparable, and fresh is what retraining is for
    return float(facts[SCORE_TAG]) >= TOLERATED_LOSS * float(champion.tags.get(SCORE_TAG, "0"))


def swap_champion(name: str) -> tuple[int, int] | None:
    """Swap the aliases champion and previous. Returns their new versions, or None where there is no previous."""
    from mlflow import MlflowException

    client = _connected()
    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException:
        return None
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if champion is None or previous is None:
        return None
    client.set_registered_model_alias(name, CHAMPION, previous)
    client.set_registered_model_alias(name, PREVIOUS, champion)
    return int(previous), int(champion)
