"""Profile section `quantization`: how semantic IDs are learned."""

from bbqrec_core.config import Section


class QuantizationConfig(Section):
    """See the fields."""
