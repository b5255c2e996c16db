"""The pyfunc model: histories of item IDs in, recommendations out.

MLflow runs this file as the model's code (models-from-code). It needs nothing of the pipeline but `bbqrec_core`, which a model version
carries along.
"""

from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel
from pydantic import ValidationError

from bbqrec_core.sequence.config import SearchConfig
from serving.recommendation import Catalogue, RequestError

MAX_K = 1000


class BBQRecModel(PythonModel):
    """Loads a trained model with its catalogue and answers requests.

    Input: a column `history`, each a list of item IDs in time order, most recent last; unknown IDs are passed over, an empty list
    stands for a new user. Parameters: `k`, how many items; `mask_seen`, whether items of the history may be recommended again.

    Output: columns `items` (item IDs, best first), `scores` (the mix: weighted log-probabilities of heads and prior, content similarity,
    what repetition is worth), `unknown` (how many IDs of the history the catalogue does not have).
    """

    def load_context(self, context: Any) -> None:
        """Read the model's files. Its `model_config` is the profile's section `search`; who loads it may give other values.

        Raises:
            MlflowException: One of the values does not fit.
        """
        try:
            search = SearchConfig(**(context.model_config or {}))
        except ValidationError as error:
            raise MlflowException(f"model_config does not fit: {error}", INVALID_PARAMETER_VALUE) from None
        self.catalogue = Catalogue.load(context.artifacts["model"], context.artifacts["items"], search)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Recommend for every row.

        Raises:
            MlflowException: The request does not fit; it becomes HTTP status 400.
        """
        params = params or {}
        k = int(params.get("k", 10))
        if not 1 <= k <= MAX_K:
            raise MlflowException(f"k is {k}, must be 1 to {MAX_K}.", INVALID_PARAMETER_VALUE)
        try:
            answers = self.catalogue.recommend(list(model_input["history"]), k, bool(params.get("mask_seen", True)))
        except RequestError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        return pd.DataFrame(answers)


mlflow.models.set_model(BBQRecModel())
