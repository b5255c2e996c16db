"""MLflow's database in the home folder, when several runs open it at once."""

import os
import subprocess
import sys


def test_the_first_runs_of_a_home_may_begin_at_once(tmp_path):
    """Each would create the tables: MLflow alone gives some of them an error about a table that is there already."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | {"BBQREC_HOME": str(tmp_path)}
    code = "from tasks.tracking import connect; print(len(connect().search_experiments()))"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for run in runs:
        out, said = run.communicate(timeout=240)
        assert run.returncode == 0 and out.strip() == "1", said
