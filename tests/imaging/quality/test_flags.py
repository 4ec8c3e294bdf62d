import time

import numpy as np
import pytest

from cxr_ray.config.quality import QC_FLAGS
from cxr_ray.imaging.dicom import DicomTags
from cxr_ray.imaging.quality.flags import quality_flags
from cxr_ray.imaging.quality.orientation import OrientationModel
from cxr_ray.phantoms.phantom import draw_phantom

PHANTOM = draw_phantom("Normal", seed=11, size=224).pixels


def test_a_good_radiograph_has_no_flag():
    assert quality_flags(PHANTOM) == []
    good = DicomTags(view_position="PA", body_part="CHEST", burned_in_annotation="NO")
    assert quality_flags(PHANTOM, good) == []


@pytest.mark.parametrize(
    ("pixels", "flags"),
    [
        (255 - PHANTOM, ["inverted"]),
        (np.rot90(PHANTOM, -1), ["rotated_90"]),
        (np.rot90(PHANTOM, 2), ["rotated_180"]),
        (np.rot90(PHANTOM, 1), ["rotated_270"]),
        (255 - np.rot90(PHANTOM, 1), ["inverted", "rotated_270"]),
        (np.clip(PHANTOM.astype(int) * 3, 0, 255).astype(np.uint8), ["clipped_bright"]),
    ],
)
def test_what_is_wrong_is_named(pixels, flags):
    assert quality_flags(np.ascontiguousarray(pixels)) == flags
    assert set(flags) < set(QC_FLAGS)


@pytest.mark.parametrize(
    ("tags", "flags"),
    [
        (DicomTags(burned_in_annotation="YES"), ["burned_in_text"]),
        (DicomTags(view_position="LL"), ["lateral"]),
        (DicomTags(view_position="Lateral"), ["lateral"]),
        (DicomTags(view_position="LLD"), []),  # lateral decubitus: a frontal view of a patient who lies on the side
        (DicomTags(body_part="HAND"), ["not_chest"]),
        (DicomTags(body_part="CHEST_TO_ABDOMEN"), []),
        (DicomTags(body_part="Thorax"), []),
        (DicomTags(), []),
    ],
)
def test_the_header_says_what_the_pixels_do_not(tags, flags):
    assert quality_flags(PHANTOM, tags) == flags


def test_an_orientation_that_is_uncertain_is_not_flagged():
    undecided = OrientationModel(weights=np.zeros((8, 8)))
    assert quality_flags(np.ascontiguousarray(np.rot90(255 - PHANTOM)), model=undecided) == []
    assert quality_flags(np.full((32, 32), 128, np.uint8)) == []


@pytest.mark.parametrize("size", [224, 512])
def test_flags_cost_little(size):
    """Measured: 0.2 ms at 224 pixels and 0.9 ms at 512; the limit is for a busy machine."""
    pixels = draw_phantom("Normal", seed=11, size=size).pixels
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        quality_flags(pixels)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.002
