import numpy as np
import pytest
from PIL import Image

from cxr_ray.evaluation import image_spacing
from cxr_ray.evaluation.image_spacing import read_spacings
from cxr_ray.phantoms.phantom import draw_phantom
from cxr_ray.phantoms.phantom_files import Shot, dicom_bytes, dicom_of


@pytest.fixture
def dicom_file(tmp_path):
    def write(name, spacing, **elements):
        shot = Shot(label="Normal", name=name, suffix=".dcm", patient_id="p", patient=1, seed=2)
        dataset = dicom_of(draw_phantom("Normal", seed=1, size=48), shot)
        dataset.PixelSpacing = [spacing, spacing]
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        (tmp_path / name).write_bytes(dicom_bytes(dataset))
        return str(tmp_path / name)

    return write


def test_every_image_has_its_own_spacing(dicom_file, tmp_path):
    picture = str(tmp_path / "c.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(picture)
    uris = [dicom_file("a", 0.2), picture, dicom_file("b", 0.3), picture]

    found = read_spacings(uris, ["dicom", "png", None, None])

    assert [one and one.row_mm for one in found] == [0.2, None, 0.3, None]


def test_a_long_header_is_read_to_its_end(dicom_file, monkeypatch):
    uri = dicom_file("a", 0.2, ImageComments="x" * 5000)  # precedes the spacing
    monkeypatch.setattr(image_spacing, "HEADER_BYTES", 1000)
    assert read_spacings([uri], ["dicom"])[0].row_mm == 0.2


def test_only_files_that_may_state_a_spacing_are_read(tmp_path):
    assert read_spacings([str(tmp_path / "absent.png")], ["png"]) == [None]


def test_a_file_that_cannot_be_read_is_named_in_the_log(dicom_file, tmp_path, caplog):
    with caplog.at_level("WARNING", logger="cxr_ray"):
        found = read_spacings([str(tmp_path / "absent"), dicom_file("a", 0.2)], ["dicom", "dicom"])
    assert [one and one.row_mm for one in found] == [None, 0.2]
    assert "the pixel spacing of 1 images is unknown because their files cannot be read: no object at" in caplog.text
