"""Fixtures: a small archive of valid and broken files."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image


def encode(pixels, image_format="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def write_dicom(path, pixels, **tags):
    from pydicom import Dataset, dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": "1.2.3.4",
        "Modality": "DX",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in (values | tags).items():
        setattr(dataset, keyword, value)
    dcmwrite(path, dataset, enforce_file_format=True)


@pytest.fixture(scope="session")
def radiograph():
    """A smooth image, uint8 [90, 70]."""
    y, x = np.mgrid[0:90, 0:70]
    return np.rint(127 + 110 * np.sin(y / 17) * np.cos(x / 13)).astype(np.uint8)


@pytest.fixture(scope="session")
def archive(tmp_path_factory, radiograph):
    """A table with columns image_id, uri and size_bytes: one file of every kind."""
    folder = tmp_path_factory.mktemp("archive")
    png = encode(radiograph)
    contents = {
        "a.png": png,
        "b.jpg": encode(radiograph, "JPEG"),
        "cut.png": png[: len(png) // 2],
        "empty.png": b"",
        "missing.png": None,
        "notes.png": b"the film was lost",
        "wide.png": encode(np.zeros((2000, 2000), np.uint8)),
        "z.png": encode(255 - radiograph),
    }
    rows = []
    for name, content in contents.items():
        if content is not None:
            (folder / name).write_bytes(content)
        rows.append({"image_id": name, "uri": str(folder / name), "size_bytes": len(content or b"")})
    write_dicom(folder / "x.dcm", radiograph, PatientID="MRN-0042", PatientName="Roe^Jane", ViewPosition="PA")
    rows.append({"image_id": "x.dcm", "uri": str(folder / "x.dcm"), "size_bytes": None})
    # this object does not exist; its size in the listing makes it an error before it would be downloaded
    rows.append({"image_id": "huge.png", "uri": str(folder / "huge.png"), "size_bytes": 10**12})
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64())])
    return pa.Table.from_pylist(rows, schema=schema)
