"""The stage `register`: puts the model into MLflow's registry, asks it for recommendations, and decides on `champion`.

A version is found again by the fingerprint of the model's artifact, how it searches, and the version of this stage, which stands for the
code that a registered model carries: running twice, or after a crash at any line, ends with one version of each. It is the one stage whose
output lives outside the store: `registration_holds` tells whether that is still there.
"""

import contextlib
import io
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from filelock import FileLock

from bbqrec_core import schema
from bbqrec_core.data_note import data_note
from bbqrec_core.errors import ServiceError, StageError
from bbqrec_core.home import PROJECT
from bbqrec_core.stage import StageContext, Statistics
from bbqrec_core.store import Artifact, ArtifactRef
from serving.limits import MAX_HISTORY
from tasks.model_process import ModelFailure, ModelProcess, model_process
from tasks.stages import BY_NAME
from tasks.tracking import PARTIAL_TAG, WAY_OUT, connect, own_database

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

RUN_VARIABLE = "BBQREC_REGISTER_RUN"
"""Environment variable that names the MLflow run the model is logged under."""
FINGERPRINT_TAG = "bbqrec.fingerprint"
CODE_TAG = "bbqrec.code"
"""Version of the stage `register` that a version was made by."""
SEARCH_TAG = "bbqrec.search"
"""The profile's section `search`, as JSON."""
ARTIFACT_TAG = "bbqrec.artifact."
"""Begins the names of tags that say of each stage which artifact of it a version was made from."""
DATA_TAG = "bbqrec.data"
UNTIL_TAG = "bbqrec.data_until"
"""When the data's last interaction was, in seconds since 1970; empty for data without times."""
SCORE_TAG = "bbqrec.test_ndcg_at_10"
LIFT_TAG = "bbqrec.test_ndcg_over_popularity"
HELD_OUT_TAG = "bbqrec.held_out_interactions"
"""How many purchases the model was not shown, so that it could be judged on them."""
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
SWAPPING = "swapping"
REGISTRATION = "registration.json"
REGISTERED_BY = {"fingerprint": FINGERPRINT_TAG, "code": CODE_TAG, "search": SEARCH_TAG}
"""What a version is found again by: names in the artifact, and tags."""
USERS_ASKED = 5
TOLERATED_LOSS = 0.98
"""A challenger on the same data replaces the champion unless its NDCG@10 is below this share of the champion's."""
REQUIREMENTS = ("mlflow", "torch", "numpy", "pyarrow", "pandas", "safetensors", "pydantic", "pyyaml", "tqdm", "lightning-fabric")

log = logging.getLogger(__name__)


def run(context: StageContext) -> Statistics:
    """Register, check and promote. Every step finds what an earlier, interrupted attempt has done.

    Raises:
        StageError: The registered model does not answer as it must; the aliases are then what they were.
        ServiceError: MLflow cannot be reached.
    """
    client = connect()
    name, facts = context.profile.model_name, _facts(context)
    items = _write_items(context)
    version = find_version(client, name, facts) or _log_and_register(context, items, name, facts)
    _describe(context, client, version, facts)
    with model_process() as process:
        checked = _ask(context, process, f"models:/{name}/{version.version}")
        with aliases_lock():
            before = dict(client.get_registered_model(name).aliases)
            alias = promote(client, name, version, facts)
            try:
                _ask(context, process, f"models:/{name}@{alias}")  # the last check: as a user will load it
            except StageError:
                _restore_aliases(client, name, before)
                raise
    registration = {"model_name": name, "version": int(version.version)} | {key: facts[tag] for key, tag in REGISTERED_BY.items()}
    (context.out / REGISTRATION).write_text(json.dumps(registration, indent=2), encoding="utf-8")
    return {"model_name": name, "version": int(version.version), "recommendations_checked": checked}


def aliases_lock() -> FileLock:
    """Held while aliases are looked at and moved: no other run or rollback of this home may do so meanwhile."""
    return FileLock(own_database().with_name("aliases.lock"))


def registration_holds(artifact: Artifact) -> bool:
    """Whether the version that an artifact speaks of is in the registry still, with its files, and some version serves.

    Not where the champion is the same model with other settings of `search`: what the profile says now is what is to serve.
    """
    registration = json.loads((artifact.path / REGISTRATION).read_text(encoding="utf-8"))
    client, name = connect(), registration["model_name"]
    facts = {tag: registration[key] for key, tag in REGISTERED_BY.items()}
    version, aliases = find_version(client, name, facts), client.get_registered_model(name).aliases
    if version is None or int(version.version) != registration["version"] or CHAMPION not in aliases:
        return False
    return not _only_searches_otherwise(client.get_model_version(name, aliases[CHAMPION]), facts)


def present_alias(name: str, version: int) -> str:
    """The alias that a version has in the registry now, or an empty string."""
    aliases = connect().get_registered_model(name).aliases
    return next((alias for alias in (CHAMPION, CHALLENGER, PREVIOUS) if int(aliases.get(alias, -1)) == version), "")


def find_version(client: "MlflowClient", name: str, facts: Mapping[str, str]) -> "ModelVersion | None":
    """The first registered version made as these tags say, by all of `REGISTERED_BY`, whose files are there, if there is one."""
    versions = client.search_model_versions(f"name = '{name}'", max_results=1000)
    found = [one for one in versions if all(one.tags.get(tag) == facts[tag] for tag in REGISTERED_BY.values())]
    return next((one for one in sorted(found, key=lambda version: int(version.version)) if _has_files(one)), None)


def _has_files(version: "ModelVersion") -> bool:
    """Whether a version can be loaded: the row in the registry outlives files that were removed, as by `mlflow gc`.

    Raises:
        ServiceError: Where they are kept does not answer.
    """
    import mlflow

    uri = f"models:/{version.name}/{version.version}"
    try:
        return bool(mlflow.artifacts.list_artifacts(artifact_uri=uri))
    except mlflow.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise ServiceError(f"The files of {uri} cannot be listed: {error.message}", WAY_OUT) from None
    except FileNotFoundError:
        return False


def _all_models(client: "MlflowClient") -> "Iterator[RegisteredModel]":
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def serving_artifacts() -> set[ArtifactRef]:
    """What the versions that bear an alias, of whichever model, were made from.

    Raises:
        ServiceError: MLflow cannot be reached.
    """
    client = connect()
    found = set()
    for model in _all_models(client):
        for number in set(model.aliases.values()):
            tags = client.get_model_version(model.name, number).tags
            made_from = {name.removeprefix(ARTIFACT_TAG): value for name, value in tags.items() if name.startswith(ARTIFACT_TAG)}
            found |= {ArtifactRef(stage=stage, fingerprint=fingerprint) for stage, fingerprint in made_from.items()}
    return found


def _facts(context: StageContext) -> dict[str, str]:
    """Tags of the version: where it comes from and how good it is."""
    statistics = {name: pq.read_table(context.input(name) / "statistics.parquet").to_pylist()[0] for name in ("ingest", "evaluate")}
    encoders = json.loads((context.input("embed") / "encoders.json").read_text(encoding="utf-8"))
    facts = {f"{ARTIFACT_TAG}{name}": path.name for name, path in sorted(context.inputs.items())}
    facts |= {f"bbqrec.encoder.{modality}": about["name"] for modality, about in sorted(encoders.items())}
    facts |= {
        "bbqrec.profile": context.profile.name,
        FINGERPRINT_TAG: _model(context).name,
        CODE_TAG: str(BY_NAME["register"].version),
        SEARCH_TAG: json.dumps(_search(context), sort_keys=True),
        DATA_TAG: context.input("ingest").name,
        UNTIL_TAG: str(statistics["ingest"].get("last_timestamp") or ""),
        SCORE_TAG: f"{statistics['evaluate']['registered_ndcg_at_10']:.6f}",
        LIFT_TAG: f"{_lift(statistics['evaluate']):.6f}",
        "bbqrec.items": str(statistics["ingest"]["items"]),
        "bbqrec.demo_encoder": str(any(about["is_demo_encoder"] for about in encoders.values())).lower(),
    }
    note = data_note(context.profile.source.note, statistics["ingest"])
    if note:
        facts["bbqrec.data_note"] = note
    if statistics["ingest"].get("partial"):
        facts[PARTIAL_TAG] = "true"
    if statistics["ingest"]["held_out_interactions"]:
        facts[HELD_OUT_TAG] = str(statistics["ingest"]["held_out_interactions"])
    return facts


def _lift(evaluate: Statistics) -> float:
    """NDCG@10 over popularity's; where popularity ranks no target among the first ten, whoever does is ahead of it."""
    ratio = evaluate["ndcg_over_popularity"]
    if ratio is not None:
        return float(ratio)
    return math.inf if float(evaluate["registered_ndcg_at_10"] or 0.0) > 0 else 0.0


def _model(context: StageContext) -> Path:
    """What is registered: the model that has learned from validation too, where the profile refits."""
    return context.input("refit" if "refit" in context.inputs else "train")


def _search(context: StageContext) -> dict[str, Any]:
    """How the version searches, unless who loads it says otherwise."""
    search = context.profile.search
    return search.fingerprint_fields()


def _write_items(context: StageContext) -> Path:
    """The catalogue that the model carries: item_idx, item_id, title."""
    path = context.out / "items.parquet"
    pq.write_table(pq.read_table(context.input("ingest") / "items.parquet", columns=[schema.ITEM_IDX, schema.ITEM_ID, "title"]), path)
    return path


def _log_and_register(context: StageContext, items: Path, name: str, facts: dict[str, str]) -> "ModelVersion":
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
    with mlflow.start_run(run_id=os.environ[RUN_VARIABLE]):
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(PROJECT / "serving" / "model.py"),
            artifacts={"model": str(_model(context)), "items": str(items)},
            code_paths=[str(PROJECT / "bbqrec_core"), str(PROJECT / "serving")],
            pip_requirements=[f"{package}=={metadata.version(package)}" for package in REQUIREMENTS],
            signature=signature,
            input_example=_requests(context),
            model_config=_search(context),
            metadata={"fingerprint": facts[FINGERPRINT_TAG]},
        )
        with contextlib.redirect_stderr(io.StringIO()):  # it announces the version there; we say it ourselves
            return mlflow.register_model(info.model_uri, name, tags=facts)


def _describe(context: StageContext, client: "MlflowClient", version: "ModelVersion", facts: dict[str, str]) -> None:
    """Write descriptions and tags; a version found again may have been evaluated anew."""
    name = context.profile.model_name
    client.update_registered_model(
        name,
        f"Multi-modal sequential recommender, profile `{context.profile.name}`. {context.profile.description}\n\n"
        "Request: a column `history` of lists of item IDs, most recent last; parameters `k` and `mask_seen`. "
        "Aliases: `champion` serves, `challenger` did not replace it, `previous` is for rollback.",
    )
    client.update_model_version(name, version.version, f"{context.profile.description} Test NDCG@10 {facts[SCORE_TAG]}, seen items masked.")
    for key, value in facts.items():
        client.set_model_version_tag(name, version.version, key, value)


def _requests(context: StageContext) -> Any:
    """A few real histories as a request."""
    import pandas as pd

    ids = pq.read_table(context.input("ingest") / "items.parquet", columns=[schema.ITEM_ID])[schema.ITEM_ID].to_pylist()
    histories = pq.read_table(context.input("ingest") / "test.parquet")[schema.HISTORY][:USERS_ASKED].to_pylist()
    return pd.DataFrame({"history": [[ids[item] for item in history[-MAX_HISTORY:]] for history in histories]})


def _ask(context: StageContext, process: ModelProcess, uri: str) -> int:
    """Load a model by its address, as a server will, and ask it. Returns how many requests were answered.

    Raises:
        StageError: It does not load, or an answer is empty, repeats what the user has, or names an item that the catalogue lacks.
    """
    histories = [list(history) for history in _requests(context)["history"]]
    try:
        process.load(uri)
        answers = process.ask(histories, 10)
    except ModelFailure as error:
        raise StageError(f"The registered model {uri} does not load and answer: {error}", "No alias was moved.") from error
    catalogue = set(pq.read_table(context.input("ingest") / "items.parquet")[schema.ITEM_ID].to_pylist())
    for history, answer in zip(histories, answers, strict=True):
        items = set(answer["items"])
        if not items or items & set(history) or not items <= catalogue:
            problem = f"The registered model {uri} recommends nothing, what the user has already, or items that the catalogue lacks."
            raise StageError(problem, "No alias was moved.")
    return len(answers)


def promote(client: "MlflowClient", name: str, version: "ModelVersion", facts: dict[str, str]) -> str:
    """Decide on the alias, set it, and return it.

    The first version is champion: its data and health gates are what let it come here. A later one is too, unless it does worse
    on the very same data, does not even beat popularity on newer data, was made from data that ends before the champion's, or was not shown
    all of its data and the champion was; the champion before it stays as `previous`.
    """
    finish_swap(client, name)
    aliases = client.get_registered_model(name).aliases
    champion, own = aliases.get(CHAMPION), int(version.version)
    if champion is not None and int(champion) != own:
        serves = client.get_model_version(name, champion)
        previous = client.get_model_version(name, aliases[PREVIOUS]) if PREVIOUS in aliases else None
        same = _only_searches_otherwise(serves, facts)
        if not same and previous is not None and _was_champion(previous, version, serves, facts):  # and was replaced or rolled back from
            client.set_registered_model_alias(name, PREVIOUS, version.version)
            return PREVIOUS
        if not same and not _replaces(serves, facts):
            client.set_registered_model_alias(name, CHALLENGER, version.version)
            log.warning(
                "Version %s does worse than the champion, version %s, or its data is older or in part: it stays challenger.", own, champion
            )
            return CHALLENGER
        client.set_registered_model_alias(name, PREVIOUS, champion)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    if int(aliases.get(CHALLENGER, own + 1)) <= own:  # it challenged a champion that is gone
        client.delete_registered_model_alias(name, CHALLENGER)
    return CHAMPION


def _was_champion(previous: "ModelVersion", version: "ModelVersion", serves: "ModelVersion", facts: Mapping[str, str]) -> bool:
    """Whether a version is the one that served before the one that does, or the same model with other code."""
    if int(previous.version) == int(version.version):
        return True
    return previous.tags.get(FINGERPRINT_TAG) == facts[FINGERPRINT_TAG] != serves.tags.get(FINGERPRINT_TAG)


def _only_searches_otherwise(champion: "ModelVersion", facts: Mapping[str, str]) -> bool:
    """Whether the champion is the same model with other settings of `search`."""
    alike = all(champion.tags.get(tag) == facts[tag] for tag in (FINGERPRINT_TAG, CODE_TAG))
    return alike and champion.tags.get(SEARCH_TAG) != facts[SEARCH_TAG]


def _replaces(champion: "ModelVersion", facts: dict[str, str]) -> bool:
    if champion.tags.get(DATA_TAG) != facts[DATA_TAG]:  # the two scores cannot be compared, and fresh data is what retraining is for
        until, before = (tags.get(UNTIL_TAG) or "-inf" for tags in (facts, champion.tags))
        if _is_trial(facts) and CODE_TAG in champion.tags and not _is_trial(champion.tags):  # of older versions nobody noted it
            return False
        return float(facts[LIFT_TAG]) >= 1.0 and float(until) >= float(before)
    return float(facts[SCORE_TAG]) >= TOLERATED_LOSS * float(champion.tags.get(SCORE_TAG, "0"))


def _is_trial(tags: Mapping[str, str]) -> bool:
    """Whether a version rests on part of its data: files that were cut off, or without what was held out to judge it."""
    return PARTIAL_TAG in tags or HELD_OUT_TAG in tags


def _restore_aliases(client: "MlflowClient", name: str, before: dict[str, str]) -> None:
    now = client.get_registered_model(name).aliases
    for alias in (CHAMPION, CHALLENGER, PREVIOUS):
        if alias in before:
            client.set_registered_model_alias(name, alias, before[alias])
        elif alias in now:
            client.delete_registered_model_alias(name, alias)


def swap_champion(name: str) -> tuple[int, int] | None:
    """Swap the aliases champion and previous. Returns their new versions, or None where there is no previous.

    A third alias holds the champion meanwhile, so that a swap cut in the middle loses nothing; who asks for it again has it finished.

    Raises:
        ServiceError: MLflow cannot be reached.
    """
    client = connect()
    if not client.search_registered_models(f"name = '{name}'"):
        return None
    with aliases_lock():
        return _swap(client, name)


def _swap(client: "MlflowClient", name: str) -> tuple[int, int] | None:
    aliases = client.get_registered_model(name).aliases
    champion, previous, before = (aliases.get(alias) for alias in (CHAMPION, PREVIOUS, SWAPPING))
    if finish_swap(client, name) and champion is not None and champion != before:  # asked for again after it was cut: not to be undone
        log.warning("A rollback of %s that was cut in the middle was finished; ask once more to swap again.", name)
        return int(champion), int(before)
    if champion is None or previous is None:
        return None
    client.set_registered_model_alias(name, SWAPPING, champion)
    client.set_registered_model_alias(name, CHAMPION, previous)
    finish_swap(client, name)
    return int(previous), int(champion)


def finish_swap(client: "MlflowClient", name: str) -> bool:
    """Second half of a swap, if one is under way."""
    aliases = client.get_registered_model(name).aliases
    if SWAPPING not in aliases:
        return False
    if aliases.get(CHAMPION) != aliases[SWAPPING]:
        client.set_registered_model_alias(name, PREVIOUS, aliases[SWAPPING])
    client.delete_registered_model_alias(name, SWAPPING)
    return True
