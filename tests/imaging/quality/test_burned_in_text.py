from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from cxr_ray.imaging.quality.burned_in_text import has_text, text_cells
from cxr_ray.phantoms.phantom import PHANTOM_LABELS, draw_phantom

PHANTOMS = [draw_phantom(label, seed=seed, size=256).pixels for seed in (7, 8) for label in PHANTOM_LABELS]
"""Every phantom bears the letter R or L."""


def with_text(pixels, text, *, size, at=(6, 4), shade=255):
    import matplotlib

    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)
    picture = Image.fromarray(pixels)
    ImageDraw.Draw(picture).text(at, text, font=font, fill=shade)
    return np.asarray(picture)


def test_phantoms_with_a_lead_letter_have_no_text():
    assert not any(map(has_text, PHANTOMS))


@pytest.mark.parametrize("size", [7, 10, 14, 18])
@pytest.mark.parametrize("text", ["DOE^JOHN", "ID 483920", "12/03/1961"])
def test_names_and_numbers_are_found_where_they_are(size, text):
    for pixels in PHANTOMS[:3]:
        dark = np.where(np.arange(256)[:, None] < 40, pixels // 4, pixels).astype(np.uint8)
        cells = text_cells(with_text(dark, text, size=size))
        assert cells.any()
        assert np.argwhere(cells)[:, 0].max() * 4 < 40


def test_black_text_on_a_bright_ground_is_found():
    assert has_text(with_text(np.full((224, 224), 220, np.uint8), "PORTABLE", size=9, shade=0))


@pytest.mark.parametrize("mark", ["L", "R"])
def test_a_side_marker_is_no_text(mark):
    assert not has_text(with_text(np.zeros((224, 224), np.uint8), mark, size=20))


def test_the_edge_of_a_field_and_a_wire_are_no_text():
    field = np.zeros((224, 224), np.uint8)
    field[40:180, 30:190] = 200
    assert not has_text(field)
    wire = np.full((224, 224), 90, np.uint8)
    for row in range(224):
        wire[row, 60 + row // 3 : 63 + row // 3] = 250
    assert not has_text(wire)


def test_text_of_a_large_image_is_found():
    large = with_text(np.zeros((2048, 1800), np.uint8), "MERCY HOSPITAL", size=48, at=(40, 30))
    assert has_text(large)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (8, 8), (9, 25)])
def test_an_image_of_any_size_is_read(shape):
    assert not has_text(np.zeros(shape, np.uint8))
