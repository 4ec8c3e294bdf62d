"""Write a mask as a DICOM Segmentation object, which viewers and archives show over its image."""

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
    """Make a DICOM Segmentation (binary, one segment: lung) that refers to study, series and image by their UIDs.

    The only data of the patient in it is `patient_key`, so that segmentations can leave the archive without names.

    Args:
        source: bytes of the DICOM file that was segmented.
        mask: bool [H, W] in the rows and columns of the image, at least one pixel True.
        patient_key: text that replaces the patient's id, such as a keyed hash; None leaves the id empty.

    Returns:
        Bytes of a DICOM file.

    Raises:
        ValueError: if the mask does not have the size of the image.
        AttributeError: if the image lacks an attribute that a segmentation must refer to.
    """
    import highdicom
    from pydicom import dcmread
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian

    image = dcmread(BytesIO(source), stop_before_pixels=True)
    if mask.shape != (image.Rows, image.Columns):
        raise ValueError(f"mask must be {[image.Rows, image.Columns]} like the image; got {list(mask.shape)}")
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
