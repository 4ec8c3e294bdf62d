"""Encode one drawn radiograph as files: its image as PNG, JPEG or DICOM, and its lung mask."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cxr_ray.phantoms.phantom import Phantom, draw_phantom

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """Plan of one image file: the picture that it shows, its name and its format.

    Attributes:
        label: label of the image and name of its class folder.
        name: file name without suffix.
        suffix: `.png`, `.jpg` or `.dcm`.
        patient_id: id of the patient in `metadata.csv`; that of a copy differs from the original's.
        patient: seed of the anatomy.
        seed: seed of the picture; copies have the seed of their original.
        inverted: True stores a DICOM file as MONOCHROME1.
        brightened: True makes the picture brighter, as a near duplicate.
    """

    label: str
    name: str
    suffix: str
    patient_id: str
    patient: int
    seed: int
    inverted: bool = False
    brightened: bool = False

    @property
    def path(self) -> str:
        """Path of the image in the archive."""
        return f"{self.label}/images/{self.name}{self.suffix}"

    @property
    def mask_path(self) -> str:
        """Path of the lung mask in the archive."""
        return f"{self.label}/masks/{self.name}.png"


def shot_files(shot: Shot, size: int) -> dict[str, bytes]:
    """Encode the image and the lung mask (0 and 255) of a shot, by path; both are `size` pixels high and wide."""
    phantom = draw_phantom(shot.label, seed=shot.seed, size=size, patient=shot.patient)
    pixels = phantom.pixels
    if shot.brightened:
        pixels = np.clip(1.06 * pixels + 4, 0, 255).astype(np.uint8)
    match shot.suffix:
        case ".dcm":
            image = dicom_bytes(dicom_of(phantom, shot))
        case ".jpg":
            image = encode_image(pixels, "JPEG", quality=92)
        case _:
            image = encode_image(pixels, "PNG")
    return {shot.path: image, shot.mask_path: encode_image(phantom.lung_mask.astype(np.uint8) * 255, "PNG")}


def encode_image(pixels: np.ndarray, image_format: str, **options: int) -> bytes:
    """Encode pixels uint8 [H, W] in a format that Pillow writes, with the options of its writer."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def dicom_of(phantom: Phantom, shot: Shot) -> "Dataset":
    """Make a data set of a DX or CR image, 12 bits stored in 16, with a window over its whole range.

    The attributes follow DICOM PS3.3, C.7.6.3 (image pixels), C.11.1 (modality LUT) and C.11.2 (window).
    """
    stored = np.rint(phantom.pixels * (4095 / 255)).astype(np.uint16)
    slope, intercept = (2, -1024) if shot.seed % 2 else (1, 0)
    dataset = _dicom_header(shot, modality="CR" if shot.seed % 2 else "DX")
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if shot.inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if shot.inverted else "IDENTITY"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = slope, intercept, "US"
    dataset.WindowCenter = slope * 2047.5 + intercept + 0.5
    dataset.WindowWidth = slope * 4095 + 1
    dataset.PixelSpacing = dataset.ImagerPixelSpacing = [
        round(350 / stored.shape[0], 4)
    ] * 2  # in mm, for a film of 35 cm
    dataset.PixelData = (4095 - stored if shot.inverted else stored).astype("<u2").tobytes()
    return dataset


def _dicom_header(shot: Shot, *, modality: str) -> "Dataset":
    """Make the attributes of patient, study, series and equipment; the shot determines every identifier."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import (
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = (
        ComputedRadiographyImageStorage if modality == "CR" else DigitalXRayImageStorageForPresentation
    )
    for level in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, level, generate_uid(entropy_srcs=["cxr_ray phantom", level, str(shot.seed)]))
    dataset.PatientName = f"Phantom^{shot.patient}"
    dataset.PatientID = shot.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyTime = "20200301", "120000"
    dataset.AccessionNumber = dataset.StudyID = str(shot.seed)
    dataset.ReferringPhysicianName = ""
    dataset.Manufacturer = "cxr_ray"
    dataset.Modality = modality
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    return dataset


def dicom_bytes(dataset: "Dataset") -> bytes:
    """Encode a data set as the bytes of a DICOM file."""
    from pydicom import dcmwrite

    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
