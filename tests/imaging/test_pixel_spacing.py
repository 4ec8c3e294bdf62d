import io

import numpy as np
import pytest
from PIL import Image
from pydicom.sequence import Sequence

from cxr_ray.imaging.pixel_spacing import PixelSpacing, read_pixel_spacing
from cxr_ray.phantoms.phantom import draw_phantom
from cxr_ray.phantoms.phantom_files import Shot, dicom_bytes, dicom_of

SHOT = Shot(label="Normal", name="a", suffix=".dcm", patient_id="p", patient=1, seed=2)
ELEMENTS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@pytest.fixture
def dicom():
    """Writes a DICOM file of 48 x 48 pixels with the given elements; a spacing that is not given is absent."""

    def write(**elements):
        dataset = dicom_of(draw_phantom("Normal", seed=1, size=48), SHOT)
        for name in ELEMENTS[:2]:
            delattr(dataset, name)
        for name, value in elements.items():
            setattr(dataset, name, value)
        return dicom_bytes(dataset)

    return write


def test_the_spacing_of_rows_comes_first(dicom):
    found, is_whole = read_pixel_spacing(dicom(PixelSpacing=[0.2, 0.3]))
    assert found == PixelSpacing(row_mm=0.2, column_mm=0.3, source="pixel_spacing", height=48, width=48)
    assert is_whole


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"ImagerPixelSpacing": [0.1, 0.1]}, (0.1, "imager_pixel_spacing")),
        ({"NominalScannedPixelSpacing": [0.4, 0.4]}, (0.4, "nominal_scanned_pixel_spacing")),
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.1, 0.1]}, (0.2, "pixel_spacing")),
        ({"PixelSpacing": [0, 0.2], "ImagerPixelSpacing": [0.1, 0.1]}, (0.1, "imager_pixel_spacing")),
    ],
)
def test_a_calibrated_spacing_precedes_that_of_the_detector(dicom, given, expected):
    found, _ = read_pixel_spacing(dicom(**given))
    assert (found.row_mm, found.source) == expected


@pytest.mark.parametrize("given", [{}, {"PixelSpacing": [0.2, -1]}, {"PixelSpacing": None}])
def test_a_file_that_states_no_spacing_has_none(dicom, given):
    assert read_pixel_spacing(dicom(**given)) == (None, True)


def test_the_resolution_of_a_png_is_no_spacing():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, "png", dpi=(300, 300))
    assert read_pixel_spacing(buffer.getvalue()) == (None, True)
    assert read_pixel_spacing(b"") == (None, True)


def test_a_head_that_ends_before_the_pixels_says_so(dicom):
    whole = dicom(PixelSpacing=[0.2, 0.3], ImageComments="x" * 4096, DerivationCodeSequence=Sequence())
    assert read_pixel_spacing(whole[:-48])[1], "the pixels are not needed"
    spacing, is_whole = read_pixel_spacing(whole[:900])
    assert not is_whole
    assert spacing is None or spacing.row_mm == 0.2
    assert read_pixel_spacing(whole)[0].row_mm == 0.2


def test_a_resized_image_has_other_pixels():
    spacing = PixelSpacing(row_mm=0.2, column_mm=0.3, source="pixel_spacing", height=100, width=200)
    assert spacing.at_size(50, 400) == pytest.approx((0.4, 0.15))
    assert PixelSpacing(row_mm=0.2, column_mm=0.3, source="given").at_size(5, 7) == pytest.approx((0.2, 0.3))
