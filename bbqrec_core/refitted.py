"""How a model that has learned from validation too is told from the others in every table: by the last word of its name.

It is shown for test, below the others, and is no rival of models that have not: nothing is compared with it, and nothing that it reaches
counts as best.
"""

_WORD = "refitted"
NOTE = "Refitted models have learned from validation too; nothing is compared with them, and they stand below the others."
"""For readers of a table that holds one."""


def ranking_key(model: str, value: float) -> tuple[bool, float, str]:
    """What models are sorted by wherever they are ranked: the highest value first, then what was refitted."""
    return is_refitted(model), -value, model


def refitted(model: str) -> str:
    """A model's name once it has learned from validation too."""
    return f"{model} {_WORD}"


def is_refitted(model: str) -> bool:
    """Whether a name is such a one."""
    return model.endswith(f" {_WORD}")
