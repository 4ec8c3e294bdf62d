from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.auditing.audit_images import drawn_patients, select_images
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.errors import DatasetError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.schema import DATASET

CARD = ModelCard(backbone="test_resnet", labels=("COVID", "Normal"), image_size=16, weights_sha256="0" * 64)
CONFIG = AuditConfig(model_uri="m", dataset_uri="d", output_uri="o")


@pytest.fixture
def dataset(tmp_path):
    """Twelve images of six patients; image 5 has an unknown class, and every second one a mask of its left half."""
    rows = []
    for number in range(12):
        pixels, mask = np.full((20, 20), 10 * number, np.uint8), np.zeros((20, 20), np.uint8)
        mask[:, :10] = 255
        names = [tmp_path / f"{kind}{number}.png" for kind in ("image", "mask")]
        for name, picture in zip(names, (pixels, mask), strict=True):
            Image.fromarray(picture).save(name)
        label = "Other" if number == 5 else ("COVID", "Normal")[number % 2]
        split = ("train", "val", "test", "test")[number // 2 % 4]
        row = {"image_id": f"{number:02}", "uri": str(names[0]), "label": label, "split": split}
        rows.append(row | {"patient_id": f"p{number // 2}", "mask_uri": None if number % 2 else str(names[1])})
    return pa.Table.from_pylist(rows, schema=DATASET)


def test_both_sets_have_their_splits(dataset):
    found = select_images(dataset, CARD, CONFIG)
    assert found.answered.image_ids == ["04", "06", "07"]
    assert sorted(found.learned.image_ids) == ["02", "03", "04", "06", "07", "10", "11"]
    assert found.left_out == {"Other": 1}
    assert found.answered.truth.tolist() == [0, 0, 1]
    assert found.answered.pixels[:, 0, 0].tolist() == [40, 60, 70]
    assert len(np.unique(found.answered.groups)) == 2


def test_masks_of_the_dataset_are_the_lungs(dataset):
    found = select_images(dataset, CARD, CONFIG).answered
    assert found.has_lungs.tolist() == [True, True, False]
    assert found.lungs[0, :, :8].all()
    assert not found.lungs[0, :, 8:].any()
    assert found.with_lungs().image_ids == ["04", "06"]
    empty = dataset.set_column(5, "mask_uri", pa.nulls(12, pa.string()))
    assert select_images(empty, CARD, CONFIG).answered.lungs is None


def test_a_segmenter_draws_the_lungs_of_every_image(dataset, save_segmenter, tmp_path):
    uri = save_segmenter(tmp_path / "segmenter", fill=1.0)
    found = select_images(dataset, CARD, replace(CONFIG, segmenter_uri=uri, engine="torch")).answered
    assert found.has_lungs.all()
    assert found.lungs.all(), "a network of ones finds lungs everywhere"
    assert found.lungs.shape == found.pixels.shape


def test_a_mask_that_is_gone_is_named(dataset, tmp_path):
    (tmp_path / "mask4.png").unlink()
    with pytest.raises(DatasetError, match="the mask of 04 cannot be read"):
        select_images(dataset, CARD, CONFIG)


def test_whole_patients_are_drawn(dataset):
    found = select_images(dataset, CARD, replace(CONFIG, split="all", max_images=5))
    assert 4 <= len(found.answered) <= 5
    groups = np.repeat(np.arange(30), 3)
    drawn = drawn_patients(groups, np.ones(90, bool), 31, 0)
    assert drawn.sum() == 30
    assert all(drawn[groups == group].all() or not drawn[groups == group].any() for group in range(30))
    assert drawn_patients(groups, np.ones(90, bool), 1, 0).sum() == 3, "one patient in any case"
    assert drawn_patients(groups, groups < 4, 90, 0).tolist() == (groups < 4).tolist()
