"""Fixtures that make DICOM files and radiographs."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest


def write_dicom(pixels, *, syntax="1.2.840.10008.1.2.1", codestream=None, preamble=True, **tags):
    """Bytes of a DX file. `codestream` is encapsulated in place of `pixels`; a tag whose value is None is left out."""
    from pydicom import Dataset, dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    bits = pixels.dtype.itemsize * 8
    values = {
        "Modality": "DX",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1 if pixels.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    if pixels.ndim == 3:
        values["PlanarConfiguration"] = 0
    values |= tags
    values["HighBit"] = values["BitsStored"] - 1
    is_big = syntax == "1.2.840.10008.1.2.2"
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    stored = pixels.astype(pixels.dtype.newbyteorder(">")) if is_big else pixels
    dataset.PixelData = stored.tobytes() if codestream is None else encapsulate([codestream])
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    dataset["PixelData"].is_undefined_length = codestream is not None
    buffer = io.BytesIO()
    if preamble:
        dcmwrite(buffer, dataset, enforce_file_format=True)
    else:
        del dataset.file_meta
        dcmwrite(buffer, dataset, implicit_vr=syntax == "1.2.840.10008.1.2", little_endian=not is_big)
    return buffer.getvalue()


def transcoded(data, syntax_name):
    """Rewrite an uncompressed DICOM file in the transfer syntax that GDCM calls by this name."""
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.dcm")
        path.write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax_name)))
        change.SetForce(True)
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return path.read_bytes()


@pytest.fixture
def make_dicom():
    return write_dicom


@pytest.fixture
def transcode():
    return transcoded


@pytest.fixture(scope="session")
def ramp12():
    return smooth_ramp()


def smooth_ramp():
    """uint16 [64, 48], smooth, from 0 to 4095."""
    slope = np.add.outer(np.arange(64), np.arange(48))
    return np.rint(slope * (4095 / slope.max())).astype(np.uint16)


@pytest.fixture(scope="session")
def radiograph():
    return small_radiograph()


def small_radiograph():
    """uint8 [96, 80]: smooth with some noise and the full range, like a small radiograph."""
    y, x = np.mgrid[0:96, 0:80]
    smooth = 128 + 90 * np.sin(y / 17) * np.cos(x / 13)
    pixels = np.clip(smooth + np.random.default_rng(7).normal(0, 6, smooth.shape), 0, 255)
    pixels[0, :2] = 0, 255
    return np.rint(pixels).astype(np.uint8)
