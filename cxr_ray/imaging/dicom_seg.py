"""A mask as a DICOM Segmentation object, which viewers and archives show over its image."""

from io import BytesIO

import numpy as np

from cxr_ray import __version__

IDENTITY = (
    "PatientName",
    "PatientBirthDate",
    "PatientBirthTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)


def dicom_segmentation(source: bytes, mask: np.ndarray, *, patient_key: str | None) -> bytes:
    """A DICOM Segmentation (binary, one segment: lung) that refers to study, series and image by their UIDs.

    Of the patient it names no more than the key: what goes out of an archive by the million must not carry names.

    Args:
        source: the DICOM file that was segmented.
        mask: bool [H, W] of its rows and columns, not empty.
        patient_key: stands for the patient's id.

    Raises:
        ValueError: if the mask is not of the image's size.
        AttributeError: if the image lacks an attribute that a segmentation must refer to.
    """
    import highdicom
    from pydicom import dcmread
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian

    image = dcmread(BytesIO(source), stop_before_pixels=True)
    if mask.shape != (image.Rows, image.Columns):
        raise ValueError(f"mask must be {[image.Rows, image.Columns]} as the image is; got {list(mask.shape)}")
    for name in IDENTITY:
        setattr(image, name, "")
    image.PatientID = patient_key or ""
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="cxr_ray", family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    lung = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lung",
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Lung,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    segmentation = highdicom.seg.Segmentation(
        source_images=[image],
        pixel_array=mask[None],
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[lung],
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="cxr_ray",
        manufacturer_model_name="cxr_ray",
        software_versions=__version__,
        device_serial_number="0",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=False,
    )
    file = BytesIO()
    segmentation.save_as(file, enforce_file_format=True)
    return file.getvalue()
