import numpy as np

from cxr_ray.auditing.covering import corners_covered, sides_covered, text_covered


def smooth(count=1, side=100):
    """Images of a grey slope, uint8 [count, side, side]."""
    return np.repeat(np.linspace(60, 120, side).astype(np.uint8)[None, :, None], count, 0).repeat(side, 2)


def test_corners_are_covered_and_nothing_else():
    pixels = smooth()
    pixels[0, 2:8, 2:8] = 255
    covered = corners_covered(pixels, None, 0.2)
    assert covered.max() < 255
    changed = (covered != pixels)[0]
    assert changed[:20, :20].any()
    assert not changed[20:80].any()
    assert not changed[:, 20:80].any()


def test_the_control_is_as_large_and_lies_elsewhere():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 100, 100), np.uint8)
    corners, sides = ((cover(pixels, None, 0.2) != pixels)[0] for cover in (corners_covered, sides_covered))
    assert not (corners & sides).any()
    assert abs(int(corners.sum()) - int(sides.sum())) < 30, "pixels that equal the median are not changed"


def test_lungs_are_spared():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 100, 100), np.uint8)
    lungs = np.zeros(pixels.shape, bool)
    lungs[0, :15, :15] = True
    for cover in (corners_covered, sides_covered):
        assert (cover(pixels, lungs, 0.2)[lungs] == pixels[lungs]).all()


def test_text_is_covered_with_what_surrounds_it():
    pixels = smooth(2)
    pixels[0, 10:20, 40:42] = 250  # a letter I
    pixels[0, 50:80, 50:80] = 250  # a plate, too broad for writing
    covered, area = text_covered(pixels, None)
    assert np.abs(covered[0, 10:20, 40:42].astype(int) - smooth()[0, 10:20, 40:42]).max() < 10
    assert (covered[0, 50:80, 50:80] == 250).all()
    assert (covered[1] == pixels[1]).all()
    assert 0 < area[0] < 0.01
    assert area[1] == 0


def test_bright_strokes_in_the_lungs_are_vessels_and_stay():
    pixels, lungs = smooth(), np.zeros((1, 100, 100), bool)
    pixels[0, 10:20, 40:42] = 250
    lungs[0, :40] = True
    covered, area = text_covered(pixels, lungs)
    assert (covered == pixels).all()
    assert area.tolist() == [0]
