"""Thousands of damaged files: each gives pixels or an error kind, and the process lives.

They are decoded in a child process: a native decoder that crashes fails a test and does not end pytest.
"""

import io
import multiprocessing
import random
import struct
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging import raster
from cxr_ray.imaging.decode import DecodeLimits, decode_image
from cxr_ray.imaging.limits import ErrorKind

MUTANTS = 200  # damaged files per original
LIMITS = DecodeLimits(max_megapixels=4)
MARKERS = [bytes([0xFF, low]) for low in (0xC0, 0xC1, 0xC3, 0xC4, 0xD7, 0xD8, 0xD9, 0xDA, 0xDD, 0xEE, 0xF7)]
ANNOTATIONS = [
    bytes.fromhex("ffe000104a46494600090100000100010000"),
    bytes.fromhex("ffee000e41646f6265006400000000ff"),
]
FRAME_HEADERS = [bytes.fromhex(f"ff{low}000b100080006001011100") for low in ("c0", "c1", "c3", "f7")]
EXTREMES = (0, 1, 2**16, 2**31, 2**32 - 1)
EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def mutate(data, rng):
    """Damage a file as transfers, disks and attackers do: near one place, which may be the header."""
    mutant = bytearray(data)
    kind = rng.randrange(6)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    start = rng.choice([0, rng.randrange(len(data)), max(0, data.rfind(b"\xff\xd8"))])
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = min(start + rng.randrange(400), len(mutant) - 1)
        if kind == 1:
            mutant[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            mutant[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        elif kind == 3:
            source = rng.randrange(len(mutant))
            mutant[at:at] = mutant[source : source + rng.randrange(1, 60)]
        elif kind == 4:
            mutant[at:at] = rng.choice(MARKERS + FRAME_HEADERS + ANNOTATIONS)
        else:
            mutant[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(EXTREMES))
    return bytes(mutant)


def raster_files(radiograph, ramp12):
    grey = Image.fromarray(radiograph)
    for image, name, options in [
        (grey, "PNG", {}),
        (grey.convert("RGBA"), "PNG", {}),
        (grey.convert("P"), "PNG", {"transparency": 3}),
        (grey.convert("1"), "PNG", {}),
        (Image.fromarray(ramp12), "PNG", {}),
        (grey.convert("RGB"), "JPEG", {"exif": EXIF}),
        (grey, "JPEG", {"restart_marker_rows": 1}),
        (grey, "JPEG", {"progressive": True}),
        (grey.convert("CMYK"), "JPEG", {}),
        (grey, "TIFF", {}),
        (Image.fromarray(ramp12), "TIFF", {}),
        (Image.fromarray(ramp12), "TIFF", {"compression": "tiff_lzw"}),
        (grey, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (grey.convert("RGB"), "TIFF", {"compression": "jpeg"}),
        (grey.convert("1"), "TIFF", {"compression": "group4"}),
    ]:
        buffer = io.BytesIO()
        image.save(buffer, name, **options)
        yield buffer.getvalue()


def dicom_files(make_dicom, transcode, radiograph, ramp12):
    import pydicom
    from openjpeg.utils import encode_array

    tags = {"BitsStored": 12, "WindowCenter": 2000, "WindowWidth": 900, "PixelPaddingValue": 7}
    native = make_dicom(ramp12, **tags)
    colour = make_dicom(np.ascontiguousarray(np.stack([radiograph] * 3, -1)))
    yield from (native, colour, make_dicom(ramp12, syntax="1.2.840.10008.1.2", preamble=False, **tags))
    yield make_dicom(ramp12, syntax="1.2.840.10008.1.2.4.201", codestream=encode_array(ramp12, bits_stored=12), **tags)
    buffer = io.BytesIO()
    Image.fromarray(radiograph).save(buffer, "JPEG")
    yield make_dicom(radiograph, syntax="1.2.840.10008.1.2.4.50", codestream=buffer.getvalue())
    for name in ("JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"):
        yield transcode(native, name)
    yield transcode(colour, "JPEG2000Lossless")
    for name in ("JPEGLosslessProcess14_1", "JPEGLSLossless"):
        yield transcode(make_dicom(radiograph, WindowCenter=100, WindowWidth=90), name)
    lut = pydicom.Dataset()
    lut.LUTDescriptor, lut.LUTData = [4096, 0, 12], np.arange(4096, dtype="<u2").tobytes()
    lut["LUTData"].VR = "OW"
    yield make_dicom(ramp12, BitsStored=12, VOILUTSequence=[lut], ModalityLUTSequence=[lut])
    yield transcode(native, "JPEGExtendedProcess2_4")
    dataset = pydicom.dcmread(io.BytesIO(native))
    dataset.compress(pydicom.uid.RLELossless)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    yield buffer.getvalue()


def decode_mutants(originals, seed, connection):
    raster.MIN_WANTED = 1  # in this process, so that small JPEGs are reduced like large ones
    rng = random.Random(seed)
    outcomes = Counter()
    for data in originals:
        for _ in range(MUTANTS):
            result = decode_image(mutate(data, rng), limits=LIMITS, wanted_size=rng.choice([None, 16]))
            is_image = result.pixels is not None
            assert is_image == (result.error_kind is None) == (result.error is None)
            assert not is_image or (result.pixels.dtype == np.uint8 and result.pixels.ndim == 2)
            assert is_image or (result.error_kind in set(ErrorKind) and "\n" not in result.error)
            outcomes[result.error_kind] += 1
    connection.send(outcomes)


@pytest.mark.slow
def test_damaged_files_give_pixels_or_an_error_kind(make_dicom, transcode, radiograph, ramp12):
    originals = [*raster_files(radiograph, ramp12), *dicom_files(make_dicom, transcode, radiograph, ramp12)]
    assert [decode_image(data).error for data in originals] == [None] * len(originals)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=decode_mutants, args=(originals, 20, sender))
    child.start()
    sender.close()
    child.join(120)
    assert child.exitcode == 0
    outcomes = receiver.recv()
    assert outcomes.total() == MUTANTS * len(originals) >= 2_000
    assert {None, "unreadable", "truncated", "too_large", "unsupported"} <= outcomes.keys()
