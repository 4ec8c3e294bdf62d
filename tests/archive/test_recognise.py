import io

import pytest
from PIL import Image

from cxr_ray.archive.recognise import HEAD_BYTES, is_drawn_picture, recognise_format


@pytest.mark.parametrize(
    ("pillow_name", "expected"),
    [
        ("PNG", "png"),
        ("JPEG", "jpeg"),
        ("TIFF", "tiff"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("WEBP", "webp"),
        ("JPEG2000", "jpeg2000"),
        ("PDF", "pdf"),
        ("AVIF", "heif"),
    ],
)
def test_what_pillow_writes_is_recognised_by_its_content(pillow_name, expected):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "gray").save(buffer, pillow_name)
    assert recognise_format(buffer.getvalue()[:HEAD_BYTES]) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (bytes(128) + b"DICM", "dicom"),
        (b"\x02\0\0\0UL\x04\0", "dicom"),
        (b"\x08\0\x05\0CS\x0a\0ISO_IR 100", "dicom"),
        (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100", "dicom"),
        (b"\0\x08\0\x05CS\0\x0aISO_IR 100", "dicom"),
        (b"\0\x08\0\x16UI\0\x1a1.2.840.10008", "dicom"),
        (b"\0\x02\0\0UL\0\4", "dicom"),
        (b"\x08\0\x20\0DA\x08\x0020200101", "dicom"),
        (b"\x02\0\0\0\x04\0\0\0\x1a\0\0\0", "dicom"),
        (b"\x02\0\x10\0\x12\0\0\x001.2.840", "dicom"),
        (b"\x5c\x01\0\0" + bytes(340) + b"n+1\0", "nifti"),
        (b"\0\0\x01\x5c" + bytes(340) + b"ni1\0", "nifti"),
        (b"\x1c\x02\0\0n+2\0\r\n\x1a\n", "nifti"),
        (b"MM\0*\0\0\0\x08", "tiff"),
        (b"\xff\x4f\xff\x51\0\x29", "jpeg2000"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "xml"),
        (b"\n<!DOCTYPE html>", "html"),
    ],
)
def test_signatures(head, expected):
    assert recognise_format(head) == expected


@pytest.mark.parametrize("head", [b"", b"\x89", b"BM of a text", b"hello", bytes(512), b"\x08\0 and so on"])
def test_anything_else_is_unknown(head):
    assert recognise_format(head) is None


def test_only_a_png_with_the_mark_is_a_drawn_picture():
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    assert not is_drawn_picture(buffer.getvalue())
    assert not is_drawn_picture(b"a text about tEXtSoftware\0cxr_ray predict_image")
    assert not is_drawn_picture(b"")
