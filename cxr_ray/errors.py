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
