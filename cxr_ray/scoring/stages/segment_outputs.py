"""Files that a segmentation may write beside its rows: overlays, saliency maps, DICOM segmentations."""

import io
import math
from typing import Any

import numpy as np

from cxr_ray.archive.uris import join_uri, read_bytes, write_bytes
from cxr_ray.config.segmentation import MaskFiles
from cxr_ray.errors import StorageError
from cxr_ray.imaging.dicom_seg import dicom_segmentation
from cxr_ray.imaging.overlay import overlay_png
from cxr_ray.scoring.stages.load import Geometry

OVERLAY_IMAGE = Geometry(image_size=1024, interpolation="bilinear", fit="within")
"""The image with its proportions, no larger than SAM looks at it."""


class SegmentOutputs:
    """Writes what is asked for; a file stands before the row of its image does.

    Args:
        output_uri: folder of the output.
        files: which of them are asked for.
    """

    def __init__(self, output_uri: str, files: MaskFiles) -> None:
        self._output_uri, self.files = output_uri, files

    def write(
        self,
        row: dict[str, Any],
        image: np.ndarray | None,
        mask: np.ndarray,
        *,
        saliency: np.ndarray | None = None,
        uncertainty: np.ndarray | None = None,
    ) -> str | None:
        """The files of one image; what went wrong with its DICOM segmentation, if anything did.

        Args:
            row: of the loaded image.
            image: uint8 [h, w], with the proportions of the original; needed for overlays.
            mask: bool [H, W] at the original size.
            saliency: float32 [S, S] in 0 to 1, of segmentation by text.
            uncertainty: float32 [S, S] in 0 to log 2, of a segmenter.
        """
        image_id = row["image_id"]
        if self.files.save_overlays and image is not None:
            self._put("overlays", f"{image_id}.png", overlay_png(image, mask))
        if self.files.save_saliency and saliency is not None:
            self._put("saliency", f"{image_id}.png", _png16(saliency))
        if self.files.save_uncertainty and uncertainty is not None:
            self._put("uncertainty", f"{image_id}.png", _png16(uncertainty / math.log(2)))
        if self.files.save_dicom_seg and row["format"] == "dicom" and mask.any():
            try:
                data = dicom_segmentation(read_bytes(row["uri"]), mask, patient_key=row["patient_key"])
            except (
                AttributeError,
                ValueError,
                TypeError,
                LookupError,
                StorageError,
            ) as error:  # of headers that lack or garble what it needs, or of a file that is gone by now
                return f"no DICOM segmentation could be made ({type(error).__name__})"  # messages may quote a patient's data
            self._put("dicom_seg", f"{image_id}.seg.dcm", data)
        return None

    def _put(self, folder: str, name: str, data: bytes) -> None:
        write_bytes(join_uri(self._output_uri, folder, name), data)


def _png16(saliency: np.ndarray) -> bytes:
    """A map in 0 to 1, but for rounding, as a grey PNG of 16 bits."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.rint(saliency.clip(0, 1) * 65535).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()
