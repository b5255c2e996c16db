"""Profile section `sequence`: the sequence model and its training."""

from bbqrec_core.config import Section


class SequenceConfig(Section):
    """See the fields."""
