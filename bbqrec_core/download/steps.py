"""Progress of what is no iteration: the project's one progress bar, moved by hand."""

from types import TracebackType

from bbqrec_core.progress import track


class Steps:
    """A bar from 0 to `total`; use it as a context.

    Args:
        what: A few words.
        total: How many steps there are.
        unit: What one of them is called.
    """

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._moves = track(range(total), what, total=total, unit=unit)
        self._done = 0
        next(self._moves, None)  # up to the first step, which is not done yet

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._moves.close()  # type: ignore[attr-defined]  # a generator

    def to(self, done: int) -> None:
        """Say that so many are done."""
        while self._done < done:
            self._done += 1
            next(self._moves, None)
