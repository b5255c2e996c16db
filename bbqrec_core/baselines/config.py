"""Profile section `baselines`: what the model is measured against."""

from bbqrec_core.config import Section


class BaselinesConfig(Section):
    """See the fields."""
