"""Recognise the format of a file by its first bytes, never by its name."""

import re

HEAD_BYTES = 512
"""Number of bytes from the start of a file that suffice for `recognise_format`."""
PICTURE_SUFFIX = "_prediction.png"
"""End of the names of pictures that `predict_image.py` draws, which may lie beside the images."""
PICTURE_MARK = "cxr_ray predict_image"
"""Text under the keyword `Software` of these PNG files, which tells them from images."""

_SIGNATURES: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("png", rb"\x89PNG\r\n\x1a\n"),
        ("jpeg", rb"\xff\xd8\xff"),
        ("dicom", rb".{128}DICM"),
        ("tiff", rb"II[*+]\0|MM\0[*+]"),
        ("gif", rb"GIF8[79]a"),
        ("webp", rb"RIFF.{4}WEBP"),
        ("jpeg2000", rb"\0\0\0\x0cjP {2}\r\n\x87\n|\xff\x4f\xff\x51"),
        ("jpegxl", rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a"),
        ("heif", rb".{4}ftyp(heic|heix|hevc|mif1|msf1|avif)"),
        ("bmp", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),  # the last four bytes are the size of the DIB header
        ("nifti", rb"\x5c\x01\0\0.{340}n[i+][12]\0|\0\0\x01\x5c.{340}n[i+][12]\0"),
        ("nifti", rb"(\x1c\x02\0\0|\0\0\x02\x1c)n[i+]2\0"),
        ("pdf", rb"%PDF-"),
        ("gzip", rb"\x1f\x8b\x08"),
        ("zip", rb"PK\x03\x04"),
        ("html", rb"\s*(?i:<!doctype html|<html)"),
        ("xml", rb"\s*<\?xml"),
        # A DICOM data set without preamble starts with a tag of group 0002 or 0008, in either byte order. With explicit
        # VR, a VR follows the tag; with implicit VR, the length of a short element.
        ("dicom", rb"([\x02\x08]\0.\0|\0[\x02\x08]\0.)(AE|CS|DA|DT|IS|LO|LT|OB|PN|SH|SQ|ST|TM|UI|UL|UN|UT)"),
        ("dicom", rb"[\x02\x08]\0\0\0\x04\0\0\0|\x02\0[\x01\x02\x03\x10]\0[\x02-\x40]\0\0\0"),
        ("dicom", rb"\x08\0[\x05\x08\x16\x18]\0[\x02-\x80]\0\0\0"),
    )
)


def recognise_format(head: bytes) -> str | None:
    """Name the format of a file from its first bytes.

    Args:
        head: the first `HEAD_BYTES` bytes of a file; fewer are accepted, but some formats need them all.

    Returns:
        The name of a format that `decode_image` reads (`dicom`, or a key of `RASTER_FORMATS`), of another format that
        occurs in archives (`gif`, `nifti`, `pdf`, ...), or None for an unknown format.
    """
    return next((name for name, pattern in _SIGNATURES if pattern.match(head)), None)


def is_drawn_picture(head: bytes) -> bool:
    """Whether a file is a picture that `predict_image.py` drew, from its first `HEAD_BYTES` bytes."""
    return recognise_format(head) == "png" and f"tEXtSoftware\0{PICTURE_MARK}".encode() in head
