import csv
import hashlib
import io
import struct
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pydicom
import pytest
from PIL import Image, UnidentifiedImageError
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from scipy import ndimage

from cxr_ray.phantoms.phantom import PHANTOM_LABELS
from cxr_ray.phantoms.phantom_archive import PhantomArchive, write_phantom_archive

PER_CLASS, SIZE = 20, 48


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> PhantomArchive:
    return write_phantom_archive(str(tmp_path_factory.mktemp("archive")), images_per_class=PER_CLASS, size=SIZE, seed=1)


@pytest.fixture(scope="module")
def metadata(archive) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((Path(archive.uri) / "metadata.csv").read_text(encoding="utf-8"))))


def contents(root: str | Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in Path(root).rglob("*") if p.is_file()}


def shown(path: Path) -> np.ndarray:
    """Pixels as a viewer shows them, 0 to 255."""
    if path.suffix != ".dcm":
        return np.asarray(Image.open(path)).astype(float)
    dataset = pydicom.dcmread(path)
    low = float(dataset.RescaleIntercept)
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset) - low
    values = 255 * values / (float(dataset.RescaleSlope) * 4095)
    return 255 - values if dataset.PhotometricInterpretation == "MONOCHROME1" else values


def test_every_image_has_a_mask_a_label_and_a_patient(archive, metadata):
    assert archive.images == len(archive.labels) == len(metadata) == 4 * PER_CLASS
    assert Counter(archive.labels.values()) == dict.fromkeys(PHANTOM_LABELS, PER_CLASS)
    assert {row["path"]: row["label"] for row in metadata} == archive.labels
    assert all(row["patient_id"] for row in metadata)
    files = contents(archive.uri)
    for path, label in archive.labels.items():
        folder, kind, name = path.split("/")
        assert (folder, kind) == (label, "images")
        assert path in files
        assert f"{folder}/masks/{name.rpartition('.')[0]}.png" in files
    assert len(files) == 2 * archive.images + len(archive.broken) + 1


def test_masks_are_black_and_white(archive):
    for path in Path(archive.uri).glob("*/masks/*.png"):
        mask = np.asarray(Image.open(path))
        assert mask.shape == (SIZE, SIZE)
        assert set(np.unique(mask)) == {0, 255}
        assert ndimage.label(mask, structure=np.ones((3, 3)))[1] == 2


def test_every_image_can_be_read_and_shows_dark_lungs(archive):
    for path in archive.labels:
        folder, _, name = path.split("/")
        pixels = shown(Path(archive.uri) / path)
        mask = np.asarray(Image.open(Path(archive.uri) / folder / "masks" / f"{name.rpartition('.')[0]}.png")) > 0
        rim = ndimage.binary_dilation(mask, iterations=4) & ~mask
        assert pixels.shape == (SIZE, SIZE)
        assert pixels[mask].mean() < pixels[rim].mean(), path


def test_formats_are_mixed_as_asked(archive):
    suffixes = Counter(Path(path).suffix for path in archive.labels)
    assert suffixes[".dcm"] == 4 * PER_CLASS // 10
    assert 4 * PER_CLASS * 0.2 <= suffixes[".jpg"] <= 4 * PER_CLASS * 0.4
    plain = write_phantom_archive(
        "memory://plain", images_per_class=2, size=32, broken=0, dicom_fraction=0, jpeg_fraction=0
    )
    assert {Path(path).suffix for path in plain.labels} == {".png"}


def test_dicom_files_are_complete(archive):
    datasets = [pydicom.dcmread(path) for path in sorted(Path(archive.uri).glob("*/images/*.dcm"))]
    assert Counter(d.PhotometricInterpretation for d in datasets) == {"MONOCHROME1": 4, "MONOCHROME2": 4}
    assert len({d.SOPInstanceUID for d in datasets}) == len(datasets)
    for dataset in datasets:
        assert dataset.Modality in ("DX", "CR")
        assert (dataset.BitsAllocated, dataset.BitsStored, dataset.ViewPosition) == (16, 12, "PA")
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert str(dataset.PatientName).startswith("Phantom^")
        assert dataset.pixel_array.max() > 255


def test_patients_have_several_views_of_one_label(metadata):
    views = Counter(row["patient_id"] for row in metadata)
    assert max(views.values()) > 1
    labels = {(row["patient_id"], row["label"]) for row in metadata}
    assert len(labels) == len(views)


def test_some_pictures_turn_up_again(archive, metadata):
    root, owner = Path(archive.uri), {row["path"]: row["patient_id"] for row in metadata}
    by_content: dict[str, list[str]] = {}
    for path in archive.labels:
        by_content.setdefault(hashlib.sha256((root / path).read_bytes()).hexdigest(), []).append(path)
    exact = [paths for paths in by_content.values() if len(paths) > 1]
    assert len(exact) == 4
    assert all(len(paths) == 2 for paths in exact)
    near = [path for path in archive.labels if " brighter " in path]
    assert len(near) == 4
    for path in near:
        (original,) = (p for p in archive.labels if p.rpartition(".")[0] == path.partition(" brighter ")[0])
        assert owner[original]
        difference = shown(root / path) - shown(root / original)
        assert 0 < difference.mean() < 20


@pytest.mark.slow
def test_same_arguments_write_the_same_bytes(archive, tmp_path):
    write_phantom_archive(str(tmp_path), images_per_class=PER_CLASS, size=SIZE, seed=1)
    assert contents(tmp_path) == contents(archive.uri)


def test_another_seed_draws_other_patients(archive, tmp_path):
    other = write_phantom_archive(str(tmp_path), images_per_class=3, size=SIZE, seed=2)
    ours = set(contents(archive.uri).values())
    assert not any((tmp_path / path).read_bytes() in ours for path in other.labels)


def test_broken_uploads_are_broken_as_announced(archive):
    data = contents(archive.uri)
    names = {kind: path for path, kind in archive.broken}
    assert set(names) == {"empty", "truncated", "unsupported", "too_large", "no_pixels"}
    assert all(path.startswith("incoming/") for path in names.values())
    assert data[names["empty"]] == b""
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(data[names["truncated"]])).load()
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data[names["unsupported"]]))
    assert struct.unpack(">II", data[names["too_large"]][16:24]) == (60_000, 60_000)
    assert "PixelData" not in pydicom.dcmread(io.BytesIO(data[names["no_pixels"]]))


def test_more_uploads_than_kinds_get_names_of_their_own(tmp_path):
    archive = write_phantom_archive(str(tmp_path), images_per_class=1, size=32, broken=12)
    assert len({path for path, _ in archive.broken}) == 12
    assert all((tmp_path / path).exists() for path, _ in archive.broken)


def test_names_are_awkward(archive):
    everything = "".join([*archive.labels, *(path for path, _ in archive.broken)])
    assert set(" #%()ö") <= set(everything)


def test_any_filesystem_will_do():
    archive = write_phantom_archive("memory://bucket/phantoms", images_per_class=1, size=32)
    fs = fsspec.filesystem("memory")
    assert all(fs.exists(f"/bucket/phantoms/{path}") for path in archive.labels)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"images_per_class": 0}, "images_per_class must be >= 1; got 0"),
        ({"dicom_fraction": 0.8, "jpeg_fraction": 0.3}, "sum to <= 1; got 0.8 and 0.3"),
        ({"jpeg_fraction": -0.1}, "must be >= 0"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, arguments, match):
    with pytest.raises(ValueError, match=match):
        write_phantom_archive(str(tmp_path), **arguments)
