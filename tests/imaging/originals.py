"""Whole files of every kind that is read, and ways to damage them."""

import io
import struct

import numpy as np
from PIL import Image

from tests.imaging.conftest import small_radiograph, smooth_ramp, transcoded, write_dicom

LOSSLESS = ("JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless")
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


def originals():
    """Whole files by name: raster files of several kinds, and DICOM files of every transfer syntax that is read."""
    return {**raster_files(small_radiograph(), smooth_ramp()), **dicom_files(small_radiograph(), smooth_ramp())}


def raster_files(radiograph, ramp12):
    files = {}
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
        files[f"{name} {image.mode} {' '.join(options)}".lower().strip()] = buffer.getvalue()
    return files


def dicom_files(radiograph, ramp12):
    import pydicom
    from openjpeg.utils import encode_array

    tags = {"BitsStored": 12, "WindowCenter": 2000, "WindowWidth": 900, "PixelPaddingValue": 7}
    native, small = write_dicom(ramp12, **tags), write_dicom(radiograph, WindowCenter=100, WindowWidth=90)
    colour = write_dicom(np.ascontiguousarray(np.stack([radiograph] * 3, -1)))
    files = {"native": native, "native colour": colour}
    for name, syntax, preamble in (
        ("implicit", "1.2.840.10008.1.2", False),
        ("big endian", "1.2.840.10008.1.2.2", True),
    ):
        files[name] = write_dicom(ramp12, syntax=syntax, preamble=preamble, **tags)
    codestream = encode_array(ramp12, bits_stored=12)
    for suffix in (201, 202, 203):
        syntax = f"1.2.840.10008.1.2.4.{suffix}"
        files[syntax] = write_dicom(ramp12, syntax=syntax, codestream=codestream, **tags)
    buffer = io.BytesIO()
    Image.fromarray(radiograph).save(buffer, "JPEG")
    files["jpeg baseline"] = write_dicom(radiograph, syntax="1.2.840.10008.1.2.4.50", codestream=buffer.getvalue())
    for name in (*LOSSLESS, "JPEGExtendedProcess2_4", "JPEG2000"):
        files[name] = transcoded(native, name)
    for name in ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEGLSNearLossless"):
        files[f"{name} 8 bits"] = transcoded(small, name)
    files["JPEG2000Lossless colour"] = transcoded(colour, "JPEG2000Lossless")
    lut = pydicom.Dataset()
    lut.LUTDescriptor, lut.LUTData = [4096, 0, 12], np.arange(4096, dtype="<u2").tobytes()
    lut["LUTData"].VR = "OW"
    files["tables"] = write_dicom(ramp12, BitsStored=12, VOILUTSequence=[lut], ModalityLUTSequence=[lut])
    dataset, buffer = pydicom.dcmread(io.BytesIO(native)), io.BytesIO()
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(buffer)
    files["run lengths"] = buffer.getvalue()
    return files
