"""Read the pixel spacing of each image of an evaluation from the header of its file."""

import logging
from collections.abc import Sequence

from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.imaging.pixel_spacing import PixelSpacing, read_pixel_spacing

HEADER_BYTES = 2**17
"""First bytes of a file that are read; a longer header makes the whole file be read."""
FILES_AT_ONCE = 64
WITHOUT_SPACING = frozenset({"png", "jpeg", "tiff"})
"""Formats whose files state no spacing of the patient; a printing resolution is none."""
log = logging.getLogger("cxr_ray")


def read_spacings(uris: Sequence[str], formats: Sequence[str | None]) -> list[PixelSpacing | None]:
    """Read the pixel spacing of images; None where the file states none or cannot be read, of which the log warns.

    Args:
        uris: URI of each image.
        formats: format of each image, None where it is unknown; only DICOM files and unknown ones are read.
    """
    found: list[PixelSpacing | None] = [None] * len(uris)
    wanted = [position for position, name in enumerate(formats) if name not in WITHOUT_SPACING]
    for start in range(0, len(wanted), FILES_AT_ONCE):
        positions = wanted[start : start + FILES_AT_ONCE]
        heads = _fetch([uris[position] for position in positions], HEADER_BYTES)
        for position, head in zip(positions, heads, strict=True):
            found[position], is_whole = read_pixel_spacing(head)
            if not is_whole and len(head) == HEADER_BYTES:
                found[position], _ = read_pixel_spacing(_fetch([uris[position]], None)[0])
    return found


def _fetch(uris: Sequence[str], first_bytes: int | None) -> list[bytes]:
    """Download files or their first bytes; one that cannot be read has no bytes."""
    fetched = fetch_objects(uris, first_bytes=first_bytes)
    failed = [one.error for one in fetched if one.data is None]
    if failed:
        log.warning(
            "the pixel spacing of %d images is unknown because their files cannot be read: %s", len(failed), failed[0]
        )
    return [one.data or b"" for one in fetched]
