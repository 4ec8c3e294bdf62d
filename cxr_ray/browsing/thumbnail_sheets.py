"""Draw thumbnails of radiographs onto sheets, and the outlines of their masks onto sheets of their own."""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count

import numpy as np
import pyarrow as pa
from PIL import Image, ImageColor

from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.imaging.decode import DecodedImage
from cxr_ray.imaging.decoder_fence import decode_fenced
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.mask_rle import decode_mask
from cxr_ray.imaging.overlay import OUTLINE_COLOUR, outline_opacity

TILES_PER_ROW = 6
TILES_PER_SHEET = TILES_PER_ROW**2
FETCHED_TOGETHER = 12
"""Images whose files are in memory at the same time; a DICOM file may have 30 MB."""
JPEG_QUALITY = 80
OUTLINE_THIRDS = 5
"""Thickness of an outline in thirds of a pixel of the thumbnail."""
OPACITIES = 16
"""Different opacities of an outline, so that a pixel takes 4 bits."""
MAX_WORKERS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """Thumbnails of up to `TILES_PER_SHEET` images, in rows of `TILES_PER_ROW`."""

    picture: bytes
    """JPEG in grey; a tile without a picture is black."""
    outlines: bytes | None
    """PNG of the same size that is transparent outside the outlines; None if no image has a mask."""
    errors: tuple[str | None, ...]
    """Kind of the error of each image that could not be read, else None."""


def draw_sheets(rows: pa.Table, side: int) -> Iterator[Sheet]:
    """Fetch and decode the images of the rows, and draw them onto sheets in the order of the rows.

    Args:
        rows: rows with `uri`, `mask_counts`, `mask_height` and `mask_width`; the last three are null without a mask.
        side: longer side of a thumbnail in pixels.

    Raises:
        StorageError: if a mask is not of COCO run lengths, or does not fill its image.
    """
    with ThreadPoolExecutor(min(cpu_count() or 1, MAX_WORKERS), thread_name_prefix="thumbnail") as pool:
        for start in range(0, rows.num_rows, TILES_PER_SHEET):
            of_sheet = rows.slice(start, TILES_PER_SHEET)
            images = _decoded(of_sheet["uri"].to_pylist(), side, pool)
            masks = of_sheet.select(["mask_counts", "mask_height", "mask_width"]).to_pylist()
            outlines = [_outline(image, side, **mask) for image, mask in zip(images, masks, strict=True)]
            yield Sheet(
                picture=_jpeg(_tiled([_tile(image, side) for image in images], side)),
                outlines=_outlines_png(_tiled(outlines, side)) if any(one is not None for one in outlines) else None,
                errors=tuple(image.error_kind for image in images),
            )


def _decoded(uris: list[str], side: int, pool: ThreadPoolExecutor) -> list[DecodedImage]:
    """Fetch a few images at a time, and decode them side by side, each thread in a fence of its own."""
    images: list[DecodedImage] = []
    for start in range(0, len(uris), FETCHED_TOGETHER):
        files = fetch_objects(uris[start : start + FETCHED_TOGETHER])
        decoded = {
            place: pool.submit(decode_fenced, file.data, side, limits=DecodeLimits())
            for place, file in enumerate(files)
            if file.data is not None
        }
        images += [
            decoded[place].result() if place in decoded else DecodedImage(error_kind=file.error_kind)
            for place, file in enumerate(files)
        ]
    return images


def _size(image: DecodedImage, side: int) -> tuple[int, int]:
    """Width and height of the thumbnail of an image."""
    shape = (image.width or 1, image.height or 1)
    width, height = (max(1, round(length * side / max(shape))) for length in shape)
    return width, height


def _tile(image: DecodedImage, side: int) -> np.ndarray | None:
    if image.pixels is None:
        return None
    return np.asarray(Image.fromarray(image.pixels).resize(_size(image, side), Image.Resampling.LANCZOS))


def _outline(
    image: DecodedImage, side: int, mask_counts: str | None, mask_height: int | None, mask_width: int | None
) -> np.ndarray | None:
    """Opacity of the outline of an image's mask, uint8 in the size of its thumbnail; None without a picture or a mask."""
    if image.pixels is None or mask_counts is None or mask_height is None or mask_width is None:
        return None
    mask = decode_mask(mask_counts, mask_height, mask_width)
    if not mask.any():
        return None
    opacity = outline_opacity(mask, *_size(image, side), OUTLINE_THIRDS)
    return np.rint(opacity * (OPACITIES - 1)).astype(np.uint8)


def _tiled(tiles: Sequence[np.ndarray | None], side: int) -> np.ndarray:
    """Place tiles uint8 [h, w] in the middle of the squares of a sheet, from the top left, row by row."""
    rows = -(-len(tiles) // TILES_PER_ROW)
    sheet = np.zeros((rows * side, TILES_PER_ROW * side), np.uint8)
    for place, tile in enumerate(tiles):
        if tile is None:
            continue
        row, column = divmod(place, TILES_PER_ROW)
        height, width = tile.shape
        top, left = row * side + (side - height) // 2, column * side + (side - width) // 2
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _jpeg(sheet: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _outlines_png(levels: np.ndarray) -> bytes:
    """Encode opacities, uint8 below `OPACITIES`, as a PNG of one colour with a table of opacities."""
    picture = Image.fromarray(levels, "P")
    picture.putpalette(ImageColor.getrgb(OUTLINE_COLOUR) * OPACITIES)
    alphas = bytes(round(255 * level / (OPACITIES - 1)) for level in range(OPACITIES))
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=alphas, bits=4, optimize=True)
    return file.getvalue()
