"""Asking a model in a process of its own: by its own code, and when it refuses, fails or dies."""

import subprocess
import sys

import pytest

from tasks.model_process import ModelFailure, ModelProcess, ModelRefusal, model_process

MODEL = """
import os

import bbqrec_core
import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel


class Model(PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        print("what a model prints is no answer")
        first = list(model_input["history"])[0][0]
        if first == "refuse":
            raise MlflowException("not this one", INVALID_PARAMETER_VALUE)
        if first == "fail":
            raise KeyError("broken")
        if first == "die":
            os._exit(7)
        if first == "chatter":
            os.write(1, b"what native code writes is no answer either")
        return pd.DataFrame({"items": [bbqrec_core.WHOSE] * len(model_input), "scores": [0.5] * len(model_input)})


mlflow.models.set_model(Model())
"""


SAVE = """
import sys

sys.path.insert(0, sys.argv[1])
import mlflow
from mlflow.types import ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, ColSpec, DataType

mlflow.pyfunc.save_model(
    sys.argv[1] + "/saved",
    python_model=sys.argv[1] + "/model.py",
    code_paths=[sys.argv[1] + "/bbqrec_core"],
    pip_requirements=[],
    signature=mlflow.models.ModelSignature(
        inputs=Schema([ColSpec(Array(DataType.string), "history")]), params=ParamSchema([ParamSpec("k", DataType.long, 10)])
    ),
)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that carries a `bbqrec_core` of its own. Saving runs a model's code, so that is done elsewhere too."""
    place = tmp_path_factory.mktemp("model")
    (place / "bbqrec_core").mkdir()
    (place / "bbqrec_core" / "__init__.py").write_text("WHOSE = 'the model\\'s own'\n")
    (place / "model.py").write_text(MODEL)
    subprocess.run([sys.executable, "-c", SAVE, str(place)], check=True, cwd=place, timeout=120)
    return str(place / "saved")


def test_a_model_answers_by_its_own_code_refuses_fails_and_dies(saved: str) -> None:
    with model_process() as process:
        with pytest.raises(ModelFailure, match="folder"):
            process.load("/no/such/folder")
        process.load(saved)
        assert process.ask([["a"], ["b", "c"]], 3) == [{"items": "the model's own", "scores": 0.5}] * 2
        with pytest.raises(ModelRefusal, match="not this one"):
            process.ask([["refuse"]], 3)
        with pytest.raises(ModelFailure, match=r"KeyError.*broken") as failure:
            process.ask([["fail"]], 3)
        assert not isinstance(failure.value, ModelRefusal)
        assert len(process.ask([["a"]], 3)) == 1
        assert len(process.ask([["chatter"]], 3)) == 1
        with pytest.raises(ModelFailure, match="folder"):
            process.load("/no/such/folder")
        with pytest.raises(ModelFailure):
            process.ask([["a"]], 3)  # the model before must not answer for the one that did not load
        process.load(saved)
        with pytest.raises(ModelFailure, match="exit code 7"):
            process.ask([["die"]], 3)
        with pytest.raises(ModelFailure, match="exit code 7"):
            process.ask([["a"]], 3)


def test_half_an_answer_is_none() -> None:
    half = "import sys; sys.stdin.readline(); sys.stdout.write('[1, 2'); sys.stdout.flush(); sys.exit(9)"
    process = subprocess.Popen([sys.executable, "-c", half], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process, pytest.raises(ModelFailure, match="exit code 9"):
        ModelProcess(process).ask([["a"]], 3)
