"""The curve that the training of a tokenizer leaves."""

from dataclasses import dataclass, field


@dataclass
class Curve:
    """Mean losses per epoch, each times its weight so that they add up, as rows of the curve table: (epoch from 1, name, value)."""

    rows: list[tuple[int, str, float]] = field(default_factory=list)

    def last(self) -> dict[str, float]:
        """The values of the last epoch, by name."""
        step = self.rows[-1][0]
        return {name: value for at, name, value in self.rows if at == step}
