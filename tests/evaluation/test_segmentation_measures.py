"""The figures of lungs, readers, spacings and holes, each against a direct computation from the masks."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import ndimage
from scipy.stats import ttest_1samp, ttest_rel

from cxr_ray.archive.tables import write_table
from cxr_ray.config.segmentation_evaluation import EvaluateSegmenterConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.evaluate_segmenter import evaluate_segmenter
from cxr_ray.imaging.mask_rle import encode_mask
from cxr_ray.phantoms.phantom import draw_phantom
from cxr_ray.phantoms.phantom_files import Shot, dicom_bytes, dicom_of
from cxr_ray.schema import DATASET, MASKS

pytestmark = pytest.mark.slow
SIDE = 96
LUNGS = {name: draw_phantom("Normal", seed=seed, size=SIDE).lung_mask for seed, name in enumerate("abcd")}
SECOND = {name: ndimage.binary_dilation(mask, iterations=1) for name, mask in LUNGS.items()}
PREDICTED = {
    name: np.roll(ndimage.binary_erosion(mask), shift, axis=1) for shift, (name, mask) in enumerate(LUNGS.items())
}


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def distances(one, other, spacing):
    """Distances of both contours to the other one in mm, by distance transforms."""
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (one, other)]
    far = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return far[1][edges[0]], far[0][edges[1]]


def hd95(one, other, spacing=(1, 1)):
    return max(np.percentile(part, 95) for part in distances(one, other, spacing))


def nsd(one, other, tolerance, spacing=(1, 1)):
    return (np.concatenate(distances(one, other, spacing)) <= tolerance).mean()


@pytest.fixture
def evaluated(tmp_path, prediction_row):
    """Writes radiographs, masks and tables, evaluates them and returns the metrics and the rows by name."""

    def picture(kind, name, mask):
        path = tmp_path / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(mask, bytes):
            path.write_bytes(mask)
        else:
            Image.fromarray(mask.astype(np.uint8) * 255).save(path)
        return str(path)

    def evaluate(predicted, truth, *, second=None, patients=None, spacings=None, **options):
        images, masks = [], []
        for name, mask in truth.items():
            uri = picture("images", name, mask)
            if spacing := (spacings or {}).get(name):
                shot = Shot(label="Normal", name=name, suffix=".dcm", patient_id="p", patient=1, seed=2)
                dataset = dicom_of(draw_phantom("Normal", seed=1, size=SIDE), shot)
                dataset.PixelSpacing = list(spacing)
                uri = str(tmp_path / f"images/{name}.dcm")
                Path(uri).write_bytes(dicom_bytes(dataset))
            row = {"image_id": f"images/{name}.png", "uri": uri, "split": "test"}
            images.append(row | {"mask_uri": picture("masks", name, mask), "patient_id": (patients or {}).get(name)})
            counts = dict(zip(("mask_height", "mask_width"), mask.shape, strict=True))
            row = prediction_row(row["image_id"], None, status="ok", error_kind=None, error=None, **counts)
            masks.append(row | {"mask_counts": encode_mask(predicted[name])})
        for name, mask in (second or {}).items():
            picture("second", name, mask)
        write_table(pa.Table.from_pylist(images, schema=DATASET), str(tmp_path / "dataset.parquet"))
        table = pa.Table.from_pylist([{key: row.get(key) for key in MASKS.names} for row in masks], schema=MASKS)
        write_table(table, str(tmp_path / "segmented/masks/0.parquet"))
        metrics = evaluate_segmenter(
            EvaluateSegmenterConfig(
                predictions_uri=str(tmp_path / "segmented"),
                dataset_uri=str(tmp_path / "dataset.parquet"),
                output_uri=str(tmp_path / "report"),
                second_masks_uri=str(tmp_path / "second") if second else None,
                **options,
            )
        )
        rows = pq.read_table(tmp_path / "report/rows.parquet").to_pylist()
        return metrics, {Path(row["image_id"]).stem: row for row in rows}

    return evaluate


def text_of(tmp_path):
    return (tmp_path / "report/report.txt").read_text()


def test_distances_in_mm_are_those_of_each_images_own_spacing(evaluated, tmp_path):
    spacings = {"a": (0.2, 0.3), "c": (1.5, 1.5)}
    metrics, rows = evaluated(PREDICTED, LUNGS, spacings=spacings, tolerance_mm=0.5)

    for name, spacing in spacings.items():
        pair = PREDICTED[name], LUNGS[name]
        assert rows[name]["hd95_mm"] == pytest.approx(hd95(*pair, spacing))
        assert rows[name]["nsd_mm"] == pytest.approx(nsd(*pair, 0.5, spacing))
        assert rows[name]["hd95"] == pytest.approx(hd95(*pair))
        assert (rows[name]["row_spacing_mm"], rows[name]["column_spacing_mm"]) == spacing
    assert (rows["b"]["hd95_mm"], rows["b"]["spacing_source"]) == (None, None)
    assert rows["b"]["hd95"] == pytest.approx(hd95(PREDICTED["b"], LUNGS["b"]))
    assert metrics["n_with_spacing"] == metrics["hd95_mm"]["n"] == 2
    assert metrics["hd95"]["n"] == 4
    assert metrics["hd95_mm"]["mean"] == pytest.approx((rows["a"]["hd95_mm"] + rows["c"]["hd95_mm"]) / 2)
    assert "known for 2 of 4 images, the only ones in figures in mm (Pixel Spacing: 2)" in text_of(tmp_path)


def test_a_given_spacing_is_only_for_images_that_state_none(evaluated):
    metrics, rows = evaluated(PREDICTED, LUNGS, spacings={"a": (0.2, 0.2)}, pixel_spacing_mm=0.5)

    assert metrics["spacing_sources"] == {"given": 3, "pixel_spacing": 1}
    assert rows["a"]["hd95_mm"] == pytest.approx(0.2 * rows["a"]["hd95"])
    assert rows["b"]["hd95_mm"] == pytest.approx(0.5 * rows["b"]["hd95"])


def test_without_any_spacing_the_report_is_in_pixels(evaluated, tmp_path):
    metrics, _ = evaluated(PREDICTED, LUNGS)

    assert metrics["hd95_mm"] == {"n": 0, "mean": None, "sd": None, "median": None, "interval": None}
    assert "(mm)" not in text_of(tmp_path)
    assert "known for 0 of 4 images, so that distances are in pixels only" in text_of(tmp_path)


def test_intervals_take_patients_as_units(evaluated, tmp_path):
    metrics, rows = evaluated(PREDICTED, LUNGS, patients={"a": "p", "b": "p", "c": "q", "d": "q"})

    means = [np.mean([rows[name]["dsc"] for name in pair]) for pair in ("ab", "cd")]
    low, high = ttest_1samp(means, 0).confidence_interval(0.95)
    assert metrics["dsc"]["interval"] == pytest.approx([max(low, 0), min(high, 1)])
    assert (metrics["n_patients"], metrics["n_without_patient"]) == (2, 0)
    assert "95 % intervals: Student's t over 2 patients\n" in text_of(tmp_path)


def test_images_of_unknown_patients_are_units(evaluated, tmp_path):
    metrics, rows = evaluated(PREDICTED, LUNGS)

    of_images = [row["dsc"] for row in rows.values()]
    expected = ttest_1samp(of_images, 0).confidence_interval(0.95)
    assert metrics["dsc"]["interval"] == pytest.approx([expected.low, min(expected.high, 1)])
    assert "over 4 patients; 4 images of unknown patients count as of one patient each" in text_of(tmp_path)


def test_each_lung_is_compared_with_its_own_truth(evaluated, tmp_path):
    predicted = PREDICTED | {"d": LUNGS["d"] & (np.arange(SIDE) < SIDE / 2)}  # only the right lung of the patient
    metrics, rows = evaluated(predicted, LUNGS | {"b": LUNGS["b"] & (np.arange(SIDE) < SIDE / 2)}, lungs=True)

    half = np.arange(SIDE) < SIDE / 2
    for name in "acd":
        for side, part in (("right", half), ("left", ~half)):
            assert rows[name][f"{side}_dsc"] == pytest.approx(dice(predicted[name] & part, LUNGS[name] & part))
        assert rows[name]["right_hd95"] == pytest.approx(hd95(predicted[name] & half, LUNGS[name] & half))
    assert rows["b"]["right_dsc"] is None, "its truth has one lung"
    assert (rows["d"]["left_dsc"], rows["d"]["left_hd95"]) == (0, pytest.approx(np.hypot(SIDE, SIDE)))
    lungs = metrics["lungs"]
    assert (lungs["n_images"], lungs["n_without_pair"]) == (3, 1)
    assert (lungs["right"]["n_missing"], lungs["left"]["n_missing"]) == (0, 1)
    assert lungs["left"]["dsc"]["mean"] == pytest.approx(np.mean([rows[name]["left_dsc"] for name in "acd"]))
    assert "left lung of the patient (missing: 1)" in text_of(tmp_path)
    assert "right side" not in text_of(tmp_path)


def test_masks_of_something_else_have_no_lungs(evaluated):
    metrics, rows = evaluated(PREDICTED, LUNGS)
    assert metrics["lungs"] is None
    assert not any(name.startswith(("right_", "left_", "second_", "readers_")) for name in rows["a"])


def test_two_readers_are_compared_on_the_same_images(evaluated, tmp_path):
    second = {name: SECOND[name] for name in "abc"}
    metrics, rows = evaluated(PREDICTED, LUNGS, second=second, spacings={"a": (0.2, 0.2)})

    for name in "abc":
        assert rows[name]["readers_dsc"] == pytest.approx(dice(SECOND[name], LUNGS[name]))
        assert rows[name]["second_dsc"] == pytest.approx(dice(PREDICTED[name], SECOND[name]))
        assert rows[name]["second_hd95"] == pytest.approx(hd95(PREDICTED[name], SECOND[name]))
        assert rows[name]["readers_nsd"] == pytest.approx(nsd(SECOND[name], LUNGS[name], 2))
    assert rows["a"]["readers_hd95_mm"] == pytest.approx(hd95(SECOND["a"], LUNGS["a"], (0.2, 0.2)))
    assert rows["d"]["readers_dsc"] is None
    readers = metrics["readers"]
    assert (readers["n_images"], readers["n_without_second"], readers["n_unreadable"]) == (3, 1, 0)
    columns = {
        kind: [rows[name][f"{prefix}dsc"] for name in "abc"]
        for kind, prefix in (("readers", "readers_"), ("first", ""), ("second", "second_"))
    }
    for kind, values in columns.items():
        assert readers[kind]["dsc"]["mean"] == pytest.approx(np.mean(values))
        assert readers[kind]["dsc"]["n"] == 3
    paired = ttest_rel(columns["second"], columns["readers"]).confidence_interval(0.95)
    assert readers["second_minus_readers"]["dsc"]["interval"] == pytest.approx(list(paired))
    assert metrics["dsc"]["n"] == 4, "the main figures are of all images"
    order = sorted("abc", key=lambda name: rows[name]["readers_dsc"])
    assert [Path(row["image_id"]).stem for row in readers["lowest"]] == order
    report = text_of(tmp_path)
    line = next(line for line in report.splitlines() if line.startswith("second reader with the first"))
    assert line.split()[5] == f"{readers['readers']['dsc']['mean']:.3f}"
    assert "Images without a mask of the second reader: 1" in report
    assert "Two readers" in (tmp_path / "report/report.html").read_text()


def test_a_second_mask_of_another_size_is_resized(evaluated):
    twice = {name: np.kron(mask, np.ones((2, 2), bool)) for name, mask in SECOND.items()}
    _, rows = evaluated(PREDICTED, LUNGS, second=twice)
    assert rows["a"]["readers_dsc"] == pytest.approx(dice(SECOND["a"], LUNGS["a"]))


def test_second_masks_that_cannot_be_read_are_counted(evaluated, tmp_path):
    metrics, rows = evaluated(PREDICTED, LUNGS, second={"a": SECOND["a"], "d": b"no picture"})
    assert rows["d"]["second_error_kind"] == "unsupported"
    assert (metrics["readers"]["n_images"], metrics["readers"]["n_unreadable"]) == (1, 1)
    assert "Images whose mask of the second reader cannot be read: 1" in text_of(tmp_path)

    with pytest.raises(
        DatasetError, match=r"no image that was judged has a readable mask in .*second; check these masks"
    ):
        evaluated(PREDICTED, LUNGS, second={"a": b"no picture"})


def test_holes_are_filled_on_request_only(evaluated, tmp_path):
    pierced = {name: mask.copy() for name, mask in LUNGS.items()}
    rows, columns = (int(middle) for middle in ndimage.center_of_mass(ndimage.label(LUNGS["a"])[0] == 1))
    pierced["a"][rows, columns] = False
    metrics, with_holes = evaluated(pierced, LUNGS)
    assert with_holes["a"]["dsc"] == pytest.approx(dice(pierced["a"], LUNGS["a"])) != 1
    assert metrics["n_filled"] == 0

    metrics, filled = evaluated(pierced, LUNGS, fill_holes=True)
    assert filled["a"]["dsc"] == 1
    assert filled["a"]["filled_area_fraction"] == pytest.approx(1 / SIDE**2)
    assert metrics["n_filled"] == 1
    assert "Images whose predicted mask had holes, which were filled: 1" in text_of(tmp_path)
