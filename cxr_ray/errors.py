"""Exceptions whose message is one line that names the value and the mend."""


class CxrRayError(Exception):
    """A failure the user can mend; its message is shown without a traceback. Exit code 1."""

    exit_code = 1


class ConfigError(CxrRayError):
    """An argument, flag or recipe is wrong. Exit code 2."""

    exit_code = 2


class StorageError(CxrRayError):
    """A URI cannot be read or written, or what it holds is not what was expected."""


class DatasetError(CxrRayError):
    """A table or folder of images cannot serve as a dataset."""


class BundleError(CxrRayError):
    """A model bundle is missing, incomplete, altered or of another kind."""


class ClusterError(CxrRayError):
    """The Ray cluster cannot run the job that was asked for."""


class ResumeError(CxrRayError):
    """An output already holds work that this command does not continue."""


class TrainingError(CxrRayError):
    """A training went wrong: it diverged, or lost its workers too often."""


class GateError(CxrRayError):
    """The job ran to its end, and a quality gate says that its result is not good enough."""


class ImageError(CxrRayError):
    """One image cannot be read, or a model gives no finite number for it; its text is `name: kind: reason`.

    Attributes:
        name: path or URI of the image.
        kind: the word that archive jobs write to the column `error_kind`, such as `truncated` or `not_found`.
        reason: one line that quotes no patient's data.
    """

    def __init__(self, name: str, kind: str, reason: str) -> None:
        super().__init__(name, kind, reason)  # all of them, so that a copy can be made in another process
        self.name, self.kind, self.reason = name, kind, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.kind}: {self.reason}"
