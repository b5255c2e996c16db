"""Makes the artificial ingest artifact of tests/baselines importable here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "baselines"))
