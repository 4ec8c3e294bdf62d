"""Where the weights of a BiomedCLIP lie; no torch, so that a job's driver can ask."""

from cxr_ray.archive.uris import exists, join_uri
from cxr_ray.errors import BundleError, StorageError
from cxr_ray.models.bundle import WEIGHTS_NAME
from cxr_ray.models.weights_cache import is_folder

WEIGHTS_NAMES = (WEIGHTS_NAME, "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
"""Looked for in a folder, in this order."""


def clip_weights_uri(uri: str) -> str:
    """The weights file that `load_biomedclip` reads: `uri`, or the one with a usual name if that is a folder.

    Raises:
        BundleError: if the folder has none, or the storage does not answer.
    """
    try:
        if not is_folder(uri):
            return uri
        candidates = [join_uri(uri, name) for name in WEIGHTS_NAMES]
        found = next((candidate for candidate in candidates if exists(candidate)), None)
    except StorageError as error:
        raise BundleError(f"no BiomedCLIP weights: {error}") from error
    if found is None:
        raise BundleError(f"no BiomedCLIP weights in {uri}: it has none of {', '.join(WEIGHTS_NAMES)}; name the file")
    return found
