import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.browsing.thumbnail_sheets import TILES_PER_ROW, TILES_PER_SHEET, draw_sheets
from cxr_ray.imaging.mask_rle import encode_mask

SIDE = 32


def rows(uris, masks=None):
    masks = masks or [None] * len(uris)
    return pa.table(
        {
            "uri": uris,
            "mask_counts": pa.array([None if mask is None else encode_mask(mask) for mask in masks], pa.string()),
            "mask_height": pa.array([None if mask is None else mask.shape[0] for mask in masks], pa.int32()),
            "mask_width": pa.array([None if mask is None else mask.shape[1] for mask in masks], pa.int32()),
        }
    )


def opened(data):
    return Image.open(io.BytesIO(data))


def test_a_thumbnail_keeps_its_proportions_and_stands_in_the_middle(draw):
    (sheet,) = draw_sheets(rows([draw("a.png", 60, 30, grey=200)]), SIDE)
    pixels = np.asarray(opened(sheet.picture))
    assert pixels.shape == (SIDE, TILES_PER_ROW * SIDE)
    tile = pixels[:, :SIDE]
    assert tile[12:20, 2:10].mean() == pytest.approx(200, abs=4)
    assert tile[:6].max() < 30
    assert pixels[:, SIDE + 4 :].max() < 30
    assert sheet.outlines is None


def test_an_outline_lies_on_the_border_of_the_mask(draw):
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    (sheet,) = draw_sheets(rows([draw("a.png", 40, 40)], [mask]), 40)
    picture = opened(sheet.outlines).convert("RGBA")
    opacity = np.asarray(picture)[:, :40, 3]
    assert opacity[20, 10] > 100
    assert opacity[20, 20] == 0
    assert opacity[20, 3] == 0
    assert picture.getpixel((10, 20))[:3] == (255, 166, 0)
    assert len(sheet.outlines) < 2000


def test_an_empty_mask_has_no_outline(draw):
    (sheet,) = draw_sheets(rows([draw("a.png", 40, 40)], [np.zeros((40, 40), bool)]), SIDE)
    assert sheet.outlines is None


def test_many_images_fill_sheets_in_their_order(draw):
    dark, light = draw("dark.png", grey=20), draw("light.png", grey=220)
    sheets = list(draw_sheets(rows([dark] * TILES_PER_SHEET + [light] * 7), SIDE))
    assert [len(sheet.errors) for sheet in sheets] == [TILES_PER_SHEET, 7]
    second = np.asarray(opened(sheets[1].picture))
    assert second.shape == (2 * SIDE, TILES_PER_ROW * SIDE)
    assert second[SIDE + 16, 5] == pytest.approx(220, abs=6)
    assert second[SIDE + 16, SIDE + 5] < 30


def test_an_image_that_cannot_be_read_is_named_and_leaves_its_place_black(draw, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (sheet,) = draw_sheets(rows([str(tmp_path / "none.png"), str(tmp_path / "cut.png"), draw("a.png")]), SIDE)
    assert sheet.errors[0] == "not_found"
    assert sheet.errors[1] in ("truncated", "unreadable")
    assert sheet.errors[2] is None
    assert np.asarray(opened(sheet.picture))[:, : 2 * SIDE - 4].max() < 30


def test_no_rows_give_no_sheet():
    assert list(draw_sheets(rows([]).cast(rows(["x"]).schema), SIDE)) == []
