"""The other end of `model_process.py`: loads registered models and answers, a line of JSON for each line of JSON.

It imports nothing that a model carries, `bbqrec_core` or `serving`: MLflow puts a model's own code first on the path when it loads it.
"""

import json
import os
import sys
import traceback
from typing import Any, TextIO

from tasks.lifeline import die_with_parent

REFUSAL = "INVALID_PARAMETER_VALUE"
"""What MLflow says, and our models, of a request that does not fit."""


def main(lifeline: str) -> None:
    """Answer requests until there are no more."""
    die_with_parent(int(lifeline))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what models, libraries and their children print is no answer
    sys.stdout = sys.stderr  # unbuffered, so that a process that dies has said it
    _serve(sys.stdin, answers)


def _serve(requests: TextIO, answers: TextIO) -> None:
    import mlflow
    import pandas as pd

    model: Any = None
    for line in requests:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "load" in request:
                model = None  # what does not load leaves nothing that could answer in its place
                model = mlflow.pyfunc.load_model(request["load"])
            else:
                found = model.predict(pd.DataFrame({"history": request["histories"]}), params={"k": request["k"]})
                answer = {"answers": found.to_dict("records")}
        except mlflow.MlflowException as error:
            answer = {"problem": error.message, "refused": error.error_code == REFUSAL}
        except Exception as error:
            traceback.print_exc()
            answer = {"problem": f"{type(error).__name__}: {error}", "refused": False}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
