"""Files that a segmentation may write beside its rows: overlays, saliency maps, DICOM segmentations."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_ray.archive.uris import join_uri, read_bytes, write_bytes
from cxr_ray.config import SegmentConfig
from cxr_ray.imaging.dicom_seg import dicom_segmentation
from cxr_ray.imaging.overlay import overlay_png

if TYPE_CHECKING:
    from cxr_ray.models.zero_shot_segmenter import Segmentation


class SegmentOutputs:
    """Writes what the config asks for; a file stands before the row of its image does."""

    def __init__(self, config: SegmentConfig) -> None:
        self._config = config

    def write(self, row: dict[str, Any], image: np.ndarray, found: "Segmentation") -> str | None:
        """The files of one image; what went wrong with its DICOM segmentation, if anything did.

        Args:
            row: of the loaded image.
            image: uint8 [h, w], with the proportions of the original.
            found: its mask.
        """
        image_id = row["image_id"]
        if self._config.save_overlays:
            self._put("overlays", f"{image_id}.png", overlay_png(image, found.mask))
        if self._config.save_saliency:
            self._put("saliency", f"{image_id}.png", _png16(found.saliency))
        if self._config.save_dicom_seg and row["format"] == "dicom" and found.mask.any():
            try:
                data = dicom_segmentation(read_bytes(row["uri"]), found.mask, patient_key=row["patient_key"])
            except (
                AttributeError,
                ValueError,
                TypeError,
                LookupError,
            ) as error:  # of headers that lack or garble what it needs
                return f"no DICOM segmentation could be made ({type(error).__name__})"  # messages may quote a patient's data
            self._put("dicom_seg", f"{image_id}.seg.dcm", data)
        return None

    def _put(self, folder: str, name: str, data: bytes) -> None:
        write_bytes(join_uri(self._config.output_uri, folder, name), data)


def _png16(saliency: np.ndarray) -> bytes:
    """A map in 0 to 1 as a grey PNG of 16 bits."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.rint(saliency * 65535).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()
