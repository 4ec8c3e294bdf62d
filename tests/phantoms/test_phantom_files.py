import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image

from cxr_ray.phantoms.phantom import draw_phantom
from cxr_ray.phantoms.phantom_files import Shot, shot_files

SHOT = Shot(label="COVID", name="COVID-1", suffix=".png", patient_id="phantom-7", patient=7, seed=3)
SIZE = 48


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_shot_is_an_image_and_its_mask():
    files = shot_files(SHOT, SIZE)
    phantom = draw_phantom("COVID", seed=3, size=SIZE, patient=7)
    assert list(files) == ["COVID/images/COVID-1.png", "COVID/masks/COVID-1.png"]
    np.testing.assert_array_equal(pixels_of(files[SHOT.path]), phantom.pixels)
    np.testing.assert_array_equal(pixels_of(files[SHOT.mask_path]), phantom.lung_mask * np.uint8(255))


def test_a_brightened_copy_is_brighter_and_has_the_same_mask():
    bright = replace(SHOT, brightened=True)
    ours, theirs = shot_files(bright, SIZE), shot_files(SHOT, SIZE)
    assert pixels_of(ours[SHOT.path]).mean() > pixels_of(theirs[SHOT.path]).mean()
    assert ours[SHOT.mask_path] == theirs[SHOT.mask_path]


@pytest.mark.parametrize("inverted", [False, True])
def test_both_photometric_interpretations_show_the_same_radiograph(inverted):
    dicom = pydicom.dcmread(
        io.BytesIO(
            shot_files(replace(SHOT, suffix=".dcm", inverted=inverted), SIZE)[f"{SHOT.label}/images/COVID-1.dcm"]
        )
    )
    assert dicom.PhotometricInterpretation == ("MONOCHROME1" if inverted else "MONOCHROME2")
    stored = 4095 - dicom.pixel_array if inverted else dicom.pixel_array
    shown = np.rint(stored * (255 / 4095)).astype(np.uint8)
    np.testing.assert_array_equal(shown, draw_phantom("COVID", seed=3, size=SIZE, patient=7).pixels)
