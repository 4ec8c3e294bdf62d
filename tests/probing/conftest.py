"""Fixtures: drawn patterns of three classes and of thirty patients, their embeddings, and their labels."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import write_table
from cxr_ray.config import EmbedConfig
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.schema import DATASET
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.embed import EmbedStage
from cxr_ray.scoring.stages.load import Geometry, LoadStage

CLASSES = ("coarse", "fine", "flat")
PATIENTS, IMAGES_OF_A_PATIENT = 30, 3


@dataclass
class Embedded:
    """An embedded archive.

    Attributes:
        folder: its folder.
        encoder_uri: bundle of the encoder.
        uri: output of the embedding job.
        dataset_uri: labels, patients and splits of its images; patients 24 to 29 are the test split.
        loaded: rows of loaded images.
    """

    folder: Path
    encoder_uri: str
    uri: str
    dataset_uri: str
    loaded: pa.Table


def drawn(label: str, random: np.random.Generator) -> bytes:
    cells = {"coarse": 3, "fine": 16, "flat": 1}[label]
    shades = Image.fromarray(random.integers(0, 256, (cells, cells), dtype=np.uint8))
    pixels = np.asarray(shades.resize((40, 40), Image.Resampling.BICUBIC), np.int16) + random.integers(
        -20, 21, (40, 40)
    )
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def embedded(save_encoder, tmp_path_factory) -> Embedded:
    """90 images with embeddings, and one that is broken."""
    folder = tmp_path_factory.mktemp("embedded")
    encoder_uri, uri, dataset_uri = (str(folder / name) for name in ("encoder", "out", "dataset.parquet"))
    save_encoder(encoder_uri, backbone="test_resnet", network={}, image_size=32)
    random, rows, labels = np.random.default_rng(0), [], []
    (folder / "images").mkdir()
    for patient in range(PATIENTS):
        for number in range(IMAGES_OF_A_PATIENT):
            label, name = CLASSES[patient % len(CLASSES)], f"{patient:02d}-{number}.png"
            (folder / "images" / name).write_bytes(drawn(label, random))
            rows.append({"image_id": name, "uri": str(folder / "images" / name), "size_bytes": None})
            split = "test" if patient >= 24 else "train"
            labels.append({"image_id": name, "uri": name, "label": label, "patient_id": str(patient), "split": split})
    (folder / "images/broken.png").write_bytes(b"no picture")
    rows.append({"image_id": "broken.png", "uri": str(folder / "images/broken.png"), "size_bytes": None})
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64())])
    block, geometry = pa.Table.from_pylist(rows, schema=schema), Geometry(image_size=32, interpolation="bilinear")
    (loaded,) = LoadStage(geometries=(geometry,), limits=DecodeLimits(), patient_secret=PatientSecret(b"s"))(block)
    options = {"device": "cpu", "engine": "torch", "precision": "fp32", "threads": 1, "run_id": "r"}
    stage = EmbedStage(model_uris=(encoder_uri,), layer="pooled", sizes=(96,), **options)
    write_table(stage(loaded), f"{uri}/embeddings/0.parquet")
    config = EmbedConfig(input_uri=str(folder / "images"), model_uri=(encoder_uri,), output_uri=uri)
    write_run_record(uri, config)
    write_table(pa.Table.from_pylist(labels, schema=DATASET), dataset_uri)
    return Embedded(folder=folder, encoder_uri=encoder_uri, uri=uri, dataset_uri=dataset_uri, loaded=loaded)
