"""Draw the outlines of masks on a radiograph."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor

OUTLINE_COLOUR = "#ffa600"  # amber differs from bone and lung, also for colour-blind readers


def overlay_png(radiograph: np.ndarray, mask: np.ndarray) -> bytes:
    """Encode a PNG of a radiograph uint8 [h, w] with the outline of a mask bool [H, W] of the same proportions."""
    file = io.BytesIO()
    pixels = draw_contours(radiograph, [(mask, OUTLINE_COLOUR, 7)], longest_side=max(radiograph.shape))
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def draw_contours(
    radiograph: np.ndarray | None, contours: Sequence[tuple[np.ndarray, str, int]], *, longest_side: int
) -> np.ndarray:
    """Draw outlines of masks on a radiograph; later outlines cover earlier ones.

    Args:
        radiograph: uint8 [h, w] of any size; None draws on plain grey.
        contours: at least one (mask, colour, thickness): masks bool [H, W] of one size, a colour that Pillow knows, and
            an odd thickness in thirds of a pixel.
        longest_side: longest side of the result in pixels.

    Returns:
        uint8 [h, w, 3] in the proportions of the masks.
    """
    shape = contours[0][0].shape
    height, width = (max(1, round(side * longest_side / max(shape))) for side in shape)
    grey = Image.new("L", (1, 1), 90) if radiograph is None else Image.fromarray(radiograph)
    canvas = np.array(grey.resize((width, height), Image.Resampling.LANCZOS).convert("RGB"), dtype=np.float32)
    for mask, colour, thickness in contours:
        opacity = outline_opacity(mask, width, height, thickness)[..., None]
        canvas += opacity * (np.array(ImageColor.getrgb(colour)) - canvas)
    return np.rint(canvas).astype(np.uint8)


def outline_opacity(mask: np.ndarray, width: int, height: int, thickness: int) -> np.ndarray:
    """Opacity of the outline of `mask`, float32 [height, width] in 0 to 1; `thickness` is odd, in thirds of a pixel."""
    fine = Image.fromarray(mask.astype(np.uint8) * 255).resize((3 * width, 3 * height), Image.Resampling.BILINEAR)
    inside = np.asarray(fine) > 127
    rim = (_widened(inside, thickness // 2) & _widened(~inside, thickness // 2)).view(np.uint8)
    rows = rim[0::3] + rim[1::3] + rim[2::3]
    opacity: np.ndarray = (rows[:, 0::3] + rows[:, 1::3] + rows[:, 2::3]) / np.float32(9)
    return opacity


def _widened(region: np.ndarray, radius: int) -> np.ndarray:
    """Pixels within `radius` rows and columns of a region, bool [h, w]."""
    for _ in range(2):
        region = region.T
        reached = region.copy(order="K")
        for shift in range(1, radius + 1):
            reached[shift:] |= region[:-shift]
            reached[:-shift] |= region[shift:]
        region = reached
    return region
