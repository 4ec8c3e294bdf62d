"""Additional files that segmentation can write: overlays, maps of saliency or uncertainty, DICOM segmentations."""

import io
import math
from typing import Any

import numpy as np

from cxr_ray.archive.uris import join_uri, read_bytes, write_bytes
from cxr_ray.config.segmentation import MaskFiles
from cxr_ray.errors import StorageError
from cxr_ray.imaging.dicom_seg import dicom_segmentation
from cxr_ray.imaging.mask_runs import MaskRuns
from cxr_ray.imaging.overlay import overlay_png
from cxr_ray.scoring.stages.load import Geometry

OVERLAY_IMAGE = Geometry(image_size=1024, interpolation="bilinear", fit="within")
"""Geometry of overlays: the image in its proportions, with a longer side of at most 1024 pixels, as SAM takes it."""


class SegmentOutputs:
    """Writes the additional files of each image, before its row is committed.

    Args:
        output_uri: URI of the output folder.
        files: the kinds of files to write.
    """

    def __init__(self, output_uri: str, files: MaskFiles) -> None:
        self._output_uri, self.files = output_uri, files

    def write(
        self,
        row: dict[str, Any],
        image: np.ndarray | None,
        mask: MaskRuns,
        *,
        saliency: np.ndarray | None = None,
        uncertainty: np.ndarray | None = None,
    ) -> str | None:
        """Write the files of one image.

        Args:
            row: the image's row, with `image_id`, `uri`, `format` and `patient_key`.
            image: uint8 [h, w] in the proportions of the original; without it no overlay is written.
            mask: run lengths at the original size.
            saliency: float32 [S, S] in 0 to 1; only segmentation by text has it.
            uncertainty: float32 [S, S], entropy in 0 to log 2; only a segmenter has it.

        Returns:
            The reason why the DICOM segmentation could not be made; None if it was made or not asked for.

        Raises:
            StorageError: if a file cannot be written.
        """
        image_id = row["image_id"]
        if self.files.save_overlays and image is not None:
            self._put("overlays", f"{image_id}.png", overlay_png(image, mask.to_mask()))
        if self.files.save_saliency and saliency is not None:
            self._put("saliency", f"{image_id}.png", _png16(saliency))
        if self.files.save_uncertainty and uncertainty is not None:
            self._put("uncertainty", f"{image_id}.png", _png16(uncertainty / math.log(2)))
        if self.files.save_dicom_seg and row["format"] == "dicom" and mask.area_fraction > 0:
            try:
                data = dicom_segmentation(read_bytes(row["uri"]), mask.to_mask(), patient_key=row["patient_key"])
            except (
                AttributeError,
                ValueError,
                TypeError,
                LookupError,
                StorageError,
            ) as error:  # the header lacks or garbles a value, or the file was deleted
                return f"no DICOM segmentation could be made ({type(error).__name__})"  # messages may quote a patient's data
            self._put("dicom_seg", f"{image_id}.seg.dcm", data)
        return None

    def _put(self, folder: str, name: str, data: bytes) -> None:
        write_bytes(join_uri(self._output_uri, folder, name_inside(name)), data)


def name_inside(name: str) -> str:
    """Turn a name that a manifest gives into one that does not leave its folder; most names stay as they are.

    Empty steps are left out, and steps of dots alone are written as `%2E`.
    """
    steps = (step for step in name.split("/") if step)
    return "/".join(step if step.strip(".") else step.replace(".", "%2E") for step in steps)


def _png16(values: np.ndarray) -> bytes:
    """Encode a map as a grey PNG of 16 bits; values are clipped to 0 to 1, and 1 becomes 65535."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.rint(values.clip(0, 1) * 65535).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()
