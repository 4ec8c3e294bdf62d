import json

import numpy as np
import pytest

from cxr_ray.errors import BundleError, StorageError
from cxr_ray.imaging.quality.orientation import SIDE, bundled_model, read_orientation, standard_form, views
from cxr_ray.phantoms.phantom import PHANTOM_LABELS, draw_phantom

UPRIGHT = [draw_phantom(label, seed=seed, size=64).pixels for seed in range(100, 104) for label in PHANTOM_LABELS]


def test_the_form_does_not_depend_on_brightness_and_contrast():
    pixels = UPRIGHT[0]
    darker = (pixels.astype(float) * 0.5 + 10).astype(np.uint8)
    assert np.abs(standard_form(darker) - standard_form(pixels)).max() < 0.1
    assert standard_form(pixels).shape == (SIDE, SIDE)
    assert np.array_equal(standard_form(np.full((5, 300), 7, np.uint8)), np.zeros((SIDE, SIDE)))


def test_inverting_an_image_negates_its_form():
    assert np.abs(standard_form(255 - UPRIGHT[1]) + standard_form(UPRIGHT[1])).max() < 0.05


def test_every_view_undoes_one_way_of_showing_an_image():
    form = standard_form(UPRIGHT[0])
    for quarters in range(4):
        clockwise = np.rot90(form, -quarters)
        assert np.array_equal(views(clockwise)[quarters], form.ravel())
        assert np.array_equal(views(-clockwise)[4 + quarters], form.ravel())


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("inverted", [False, True])
def test_phantoms_are_recognised_in_every_orientation(quarters, inverted):
    """The clockwise rotation is the one that a viewer sees."""
    for upright in UPRIGHT:
        shown = np.rot90(upright, -quarters)
        found = bundled_model().orientation_of(np.ascontiguousarray(255 - shown if inverted else shown))
        assert found.rotated.argmax() == quarters
        assert (found.inverted > 0.5) == inverted
        assert found.rotated.sum() == pytest.approx(1)


def test_a_mirrored_radiograph_is_upright():
    found = [bundled_model().orientation_of(np.ascontiguousarray(upright[:, ::-1])) for upright in UPRIGHT]
    assert min(one.rotated[0] for one in found) > 0.5


def test_weights_come_from_a_file(tmp_path):
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"weights": (-bundled_model().weights).tolist()}))
    found = read_orientation(str(path)).orientation_of(UPRIGHT[0])
    assert found.inverted > 0.5, "the opposite weights take every image for an inverted one"
    assert read_orientation(None) is bundled_model()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no JSON", r"weights\.json holds no weights of an orientation; make it with fit_orientation\.py"),
        ('{"bias": 1}', "holds no weights of an orientation"),
        ("[1, 2]", "holds no weights of an orientation"),
        ('{"weights": [[1, 2], [3, 4]]}', r"holds weights \[2, 2\], not 8 x 8 finite numbers"),
        (json.dumps({"weights": [[float("nan")] * SIDE] * SIDE}), "not 8 x 8 finite numbers"),
    ],
)
def test_a_file_without_weights_is_named(tmp_path, content, message):
    (tmp_path / "weights.json").write_text(content)
    with pytest.raises(BundleError, match=message):
        read_orientation(str(tmp_path / "weights.json"))
    with pytest.raises(StorageError, match="absent"):
        read_orientation(str(tmp_path / "absent"))
