"""Profile section `evaluation`: cut-offs and intervals."""

from bbqrec_core.config import Section


class EvaluationConfig(Section):
    """See the fields."""
