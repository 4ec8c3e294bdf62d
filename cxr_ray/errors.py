"""Exceptions for errors that a user can fix; each message is one line that names the bad value and the fix."""


class CxrRayError(Exception):
    """Base of every error that a user can fix; a job shows its message without a traceback and ends with exit code 1."""

    exit_code = 1


class ConfigError(CxrRayError):
    """An argument, a flag or a recipe is wrong; the job ends with exit code 2."""

    exit_code = 2


class StorageError(CxrRayError):
    """A URI cannot be read or written, or its content is not what the job expects."""


class DatasetError(CxrRayError):
    """A table or a folder of images cannot be used as a dataset."""


class LossError(CxrRayError):
    """A table does not hold exactly one row, of one kind of work, for each image of a manifest."""


class BundleError(CxrRayError):
    """A model bundle is missing, incomplete, changed or of the wrong kind."""


class EngineError(CxrRayError):
    """An engine is not installed, cannot compute a model on a device, or computes it differently from torch."""


class LossyModelError(CxrRayError):
    """An optimised model is worse than the original by more than is allowed."""


class ClusterError(CxrRayError):
    """The Ray cluster does not answer, or is too small for the job."""


class ResumeError(CxrRayError):
    """The output holds work that this command cannot continue, or another run is writing to the output."""


class WorkerError(CxrRayError):
    """A task or an actor of a scoring job failed, or was lost more often than the job repeats its work."""


class TrainingError(CxrRayError):
    """A training failed, because it diverged or lost its workers too often."""


class GateError(CxrRayError):
    """The job finished and wrote its output, but what it found is worse than is allowed; the job ends with exit code 3."""

    exit_code = 3


class ImageError(CxrRayError):
    """One image cannot be read, or a model gives no finite number for it; the message is `name: kind: reason`.

    Attributes:
        name: path, URI or other name of the image.
        kind: the word that archive jobs write to the column `error_kind`, such as `truncated` or `not_found`.
        reason: one line without patients' data.
    """

    def __init__(self, name: str, kind: str, reason: str) -> None:
        super().__init__(name, kind, reason)  # pickle needs all arguments to copy the exception to another process
        self.name, self.kind, self.reason = name, kind, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.kind}: {self.reason}"
