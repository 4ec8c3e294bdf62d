"""Location of the weights of a BiomedCLIP; torch is not imported, so that the driver of a job stays light."""

from cxr_ray.archive.uris import exists, join_uri
from cxr_ray.errors import BundleError, StorageError
from cxr_ray.models.bundle import WEIGHTS_NAME
from cxr_ray.models.weights_cache import is_folder

WEIGHTS_NAMES = (WEIGHTS_NAME, "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
"""Usual names of a weights file, in the order in which a folder is searched for them."""


def clip_weights_uri(uri: str) -> str:
    """URI of the weights file that `load_biomedclip` reads: `uri`, or the file with a usual name in the folder `uri`.

    Raises:
        BundleError: if the folder holds no such file, or the storage does not answer.
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
