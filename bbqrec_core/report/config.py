"""Profile section `report`: what the HTML report shows."""

from bbqrec_core.config import Section


class ReportConfig(Section):
    """See the fields."""
