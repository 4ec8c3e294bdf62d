"""The masks to train on: those that the dataset names, or those of a teacher that are certain enough."""

import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.errors import DatasetError
from cxr_ray.imaging.mask_rle import encode_mask
from cxr_ray.schema import DATASET, MASKS
from cxr_ray.training.segmenter.mask_cache import load_masked_images
from cxr_ray.training.segmenter.mask_source import UNCERTAIN_WEIGHT, masks_fingerprint, teacher_masks, true_masks

COUNT = 8


def square(i):
    mask = np.zeros((40, 50), bool)
    mask[10 : 20 + i, 15:35] = True
    return mask


@pytest.fixture
def dataset(tmp_path):
    """Table of eight images, of which six are train; the last image has no mask."""
    rows = []
    for i in range(COUNT):
        Image.fromarray(np.full((40, 50), 10 * i, np.uint8)).save(tmp_path / f"{i}.png")
        Image.fromarray(square(i)).save(tmp_path / f"mask-{i}.png")
        mask_uri = str(tmp_path / f"mask-{i}.png") if i < COUNT - 1 else None
        split = "train" if i < 6 else "val"
        rows.append({"image_id": f"{i}.png", "uri": str(tmp_path / f"{i}.png"), "split": split, "mask_uri": mask_uri})
    return pa.Table.from_pylist(rows, schema=DATASET)


def teacher(folder, **columns):
    provenance = {"model_id": "m", "preprocessing_id": "p", "run_id": "r", "scored_at": 0, "status": "ok"}
    provenance |= {"device": "cpu", "precision": "fp32"}
    rows = [
        provenance
        | {
            "image_id": f"{i}.png",
            "uri": "u",
            "mask_height": 40,
            "mask_width": 50,
            "mask_counts": encode_mask(square(i)),
        }
        | {name: values[i] for name, values in columns.items()}
        for i in range(COUNT)
    ]
    write_table(pa.Table.from_pylist(rows, schema=MASKS), str(folder / "out/masks/a.parquet"))
    return str(folder / "out")


def weights_by_image(rows):
    return dict(zip(rows["image_id"].to_pylist(), rows["weight"].to_pylist(), strict=True))


def test_true_masks_are_those_the_dataset_names(dataset):
    rows = true_masks(dataset)
    assert weights_by_image(rows) == {f"{i}.png": 1.0 for i in range(COUNT - 1)}
    with pytest.raises(DatasetError, match="names no mask"):
        true_masks(dataset.slice(COUNT - 1))


def test_both_sources_give_the_same_planes(dataset, tmp_path):
    by_picture = load_masked_images(true_masks(dataset), 16)
    rows = teacher_masks(dataset, teacher(tmp_path), quantile=1.0, uncertain="drop")
    by_runs = load_masked_images(rows, 16)
    assert by_picture.shape == (COUNT - 1, 2, 16, 16)
    assert np.array_equal(by_picture, by_runs[: COUNT - 1])
    assert by_picture[3, 0].tolist() == np.full((16, 16), 30).tolist()
    assert by_picture[0, 1].mean() / 255 == pytest.approx(square(0).mean(), abs=0.01)


@pytest.mark.parametrize("column", ["uncertainty", "iou_prediction"])
def test_uncertain_masks_of_the_train_split_are_dropped_or_weigh_less(dataset, tmp_path, column):
    doubts = [0.3, 0.9, 0.1, 0.2, 0.8, 0.4, 0.99, 0.99]
    values = doubts if column == "uncertainty" else [1 - doubt for doubt in doubts]
    uri = teacher(tmp_path, **{column: values})
    kept = weights_by_image(teacher_masks(dataset, uri, quantile=0.6, uncertain="drop"))
    assert sorted(kept) == [f"{i}.png" for i in (0, 2, 3, 5, 6, 7)], "no mask of the val split is dropped"
    weighed = weights_by_image(teacher_masks(dataset, uri, quantile=0.6, uncertain="downweight"))
    assert [weighed[f"{i}.png"] for i in range(COUNT)] == [1, UNCERTAIN_WEIGHT, 1, 1, UNCERTAIN_WEIGHT, 1, 1, 1]


def test_a_teacher_without_masks_or_without_uncertainties_is_refused(dataset, tmp_path):
    statuses = ["empty", "error", *["ok"] * (COUNT - 2)]
    uri = teacher(tmp_path, status=statuses)
    assert sorted(weights_by_image(teacher_masks(dataset, uri, quantile=1.0, uncertain="drop"))) == [
        f"{i}.png" for i in range(2, COUNT)
    ]
    with pytest.raises(DatasetError, match="has masks without an uncertainty; leave --uncertainty-quantile at 1"):
        teacher_masks(dataset, uri, quantile=0.5, uncertain="drop")
    with pytest.raises(DatasetError, match="has no mask for any image"):
        teacher_masks(dataset.slice(0, 2), uri, quantile=1.0, uncertain="drop")


def test_another_mask_is_another_training(dataset, tmp_path):
    rows = teacher_masks(dataset, teacher(tmp_path), quantile=1.0, uncertain="drop")
    changed = rows.set_column(
        rows.column_names.index("mask_counts"), "mask_counts", pa.array([encode_mask(square(0))] * COUNT)
    )
    assert masks_fingerprint(rows) == masks_fingerprint(rows.take(list(range(COUNT))[::-1]))
    assert masks_fingerprint(rows) != masks_fingerprint(changed) != masks_fingerprint(true_masks(dataset))


def test_a_picture_of_a_mask_is_known_by_its_content(dataset, tmp_path):
    before = masks_fingerprint(true_masks(dataset))
    (tmp_path / "elsewhere").mkdir()
    for path in tmp_path.glob("mask-*"):
        shutil.copy(path, tmp_path / "elsewhere")
    moved = [uri and uri.replace("mask-", "elsewhere/mask-") for uri in dataset["mask_uri"].to_pylist()]
    at = dataset.column_names.index("mask_uri")
    assert masks_fingerprint(true_masks(dataset.set_column(at, "mask_uri", pa.array(moved)))) == before
    Image.fromarray(square(7)).save(tmp_path / "mask-0.png")
    assert masks_fingerprint(true_masks(dataset)) != before
    (tmp_path / "mask-0.png").unlink()
    with pytest.raises(DatasetError, match=r"cannot train on 0\.png: its mask"):
        masks_fingerprint(true_masks(dataset))


def test_masks_of_files_that_were_replaced_since_are_refused(dataset, tmp_path):
    contents = [f"{i}" for i in range(COUNT)]
    at = dataset.column_names.index("content_sha256")
    dataset = dataset.set_column(at, "content_sha256", pa.array(contents))
    same = teacher(tmp_path / "same", content_sha256=contents)
    assert teacher_masks(dataset, same, quantile=1.0, uncertain="drop").num_rows == COUNT
    replaced = teacher(tmp_path / "replaced", content_sha256=[*contents[:5], "x", "y", None])
    with pytest.raises(DatasetError, match=r"segmented other files than 2 of the dataset's images, first '5\.png'"):
        teacher_masks(dataset, replaced, quantile=1.0, uncertain="drop")


def test_what_was_broken_when_it_was_segmented_is_an_error_and_no_other_file(dataset, tmp_path):
    contents = [f"{i}" for i in range(COUNT)]
    dataset = dataset.set_column(dataset.column_names.index("content_sha256"), "content_sha256", pa.array(contents))
    statuses = ["error", *["ok"] * (COUNT - 1)]
    uri = teacher(tmp_path, content_sha256=["cut", *contents[1:]], status=statuses)
    assert teacher_masks(dataset, uri, quantile=1.0, uncertain="drop").num_rows == COUNT - 1


def test_masks_that_do_not_say_of_which_files_they_are(dataset, tmp_path):
    masks = read_table(f"{teacher(tmp_path)}/masks")
    at = masks.column_names.index("content_sha256")
    write_table(masks.set_column(at, "content_sha256", pa.nulls(COUNT)), str(tmp_path / "other.parquet"))
    assert teacher_masks(dataset, str(tmp_path / "other.parquet"), quantile=1.0, uncertain="drop").num_rows == COUNT


def test_a_row_without_its_mask_is_refused(dataset, tmp_path):
    uri = teacher(tmp_path, mask_counts=[None, *(encode_mask(square(i)) for i in range(1, COUNT))])
    with pytest.raises(DatasetError, match=r"1 rows of masks have status ok but no mask, first '0\.png'"):
        teacher_masks(dataset, uri, quantile=1.0, uncertain="drop")


def test_an_image_or_mask_that_cannot_be_read_is_named(dataset, tmp_path):
    (tmp_path / "mask-2.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"cannot train on 2\.png: its mask"):
        load_masked_images(true_masks(dataset), 16)
