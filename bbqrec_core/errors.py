"""The project's family of errors: what was wrong, where, and the way out.

An expected failure (bad input, a full disk, a failed gate) is raised as one of these and is shown on the command line without a
traceback. Anything else that escapes is a bug and keeps its traceback.
"""


class BBQRecError(Exception):
    """Base of all expected failures.

    Args:
        problem: What is wrong and where, in one or two sentences.
        way_out: What the reader can do about it.
    """

    def __init__(self, problem: str, way_out: str = "") -> None:
        super().__init__(problem, way_out)
        self.problem = problem
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.problem}\n{self.way_out}" if self.way_out else self.problem


class ProfileError(BBQRecError):
    """A profile cannot be found, read or validated."""


class SourceError(BBQRecError):
    """Raw input is missing, damaged or unusable."""


class ArtifactError(BBQRecError):
    """The artifact store cannot give or take what was asked for."""


class GateError(BBQRecError):
    """A gate stopped the pipeline: a critical rule failed, or an expectation crashed."""


class StageError(BBQRecError):
    """A stage could not do its work on input that passed its gate."""


class ServiceError(BBQRecError):
    """A server (Prefect, MLflow) cannot be reached or refuses."""
