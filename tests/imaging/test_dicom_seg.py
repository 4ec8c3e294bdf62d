"""DICOM Segmentation objects of real radiographs."""

from io import BytesIO

import numpy as np
import pydicom
import pytest

from cxr_ray.imaging.dicom_seg import dicom_segmentation

NAMES = ["Fake_MONOHR1.dcm", "RG1_J2KI.dcm", "RG3_J2KI.dcm"]


def disc(height, width):
    y, x = np.mgrid[0:height, 0:width]
    return (y - height / 3) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 5) ** 2


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("name", NAMES)
def test_the_mask_comes_back_and_refers_to_its_image(shared_data, name):
    source = (shared_data / "dicom" / name).read_bytes()
    image = pydicom.dcmread(BytesIO(source), stop_before_pixels=True)
    mask = disc(image.Rows, image.Columns)
    segmentation = pydicom.dcmread(BytesIO(dicom_segmentation(source, mask, patient_key="0123456789abcdef")))
    np.testing.assert_array_equal(segmentation.pixel_array.squeeze() > 0, mask)
    (series,) = segmentation.ReferencedSeriesSequence
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert segmentation.StudyInstanceUID == image.StudyInstanceUID
    assert segmentation.SegmentSequence[0].SegmentLabel == "Lung"


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("name", NAMES)
def test_it_names_the_patient_by_the_key_alone(shared_data, name):
    image = pydicom.dcmread(shared_data / "dicom" / name)
    image.PatientName, image.PatientID, image.PatientBirthDate = "Roe^Jane", "MRN-0042", "19700101"
    image.AccessionNumber, image.ReferringPhysicianName = "ACC-7", "House^G"
    file = BytesIO()
    image.save_as(file)
    mask = disc(image.Rows, image.Columns)
    written = dicom_segmentation(file.getvalue(), mask, patient_key="0123456789abcdef")
    assert pydicom.dcmread(BytesIO(written)).PatientID == "0123456789abcdef"
    for identity in (b"Roe", b"MRN-0042", b"19700101", b"ACC-7", b"House"):
        assert identity not in written


@pytest.mark.realdata
def test_a_mask_of_another_size_is_refused(shared_data):
    source = (shared_data / "dicom" / NAMES[0]).read_bytes()
    with pytest.raises(ValueError, match=r"mask must be \[\d+, \d+\] like the image; got \[4, 4\]"):
        dicom_segmentation(source, np.ones((4, 4), bool), patient_key=None)
