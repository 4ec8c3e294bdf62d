import dataclasses
import io
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageColor

from cxr_ray.archive.tables import write_table
from cxr_ray.config.segmentation_evaluation import EvaluateSegmenterConfig
from cxr_ray.errors import ConfigError, DatasetError, StorageError
from cxr_ray.evaluation.evaluate_segmenter import evaluate_segmenter
from cxr_ray.evaluation.segmentation_sheet import (
    PANEL_SIDE,
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    Panel,
    choose_panels,
    overlay,
    sheet_png,
)
from cxr_ray.imaging.mask_rle import encode_mask
from cxr_ray.metrics.segmentation import METRICS, MM_METRICS
from cxr_ray.schema import CASCADE_FIELDS, DATASET, DICOM_FIELDS, IMAGE_FIELDS, PROVENANCE_FIELDS

MASKS = pa.schema(
    [
        *IMAGE_FIELDS,
        ("mask_height", pa.int32()),
        ("mask_width", pa.int32()),
        ("mask_counts", pa.string()),
        ("area_fraction", pa.float32()),
        ("boxes_xyxy", pa.list_(pa.list_(pa.float32()))),
        ("iou_prediction", pa.float32()),
        ("uncertainty", pa.float32()),
        ("prompt", pa.string()),
        *PROVENANCE_FIELDS,
        *DICOM_FIELDS,
    ]
)
HEIGHT, WIDTH = 96, 128


def disc(radius, *, height=HEIGHT, width=WIDTH):
    rows, columns = np.ogrid[:height, :width]
    return (rows - height // 2) ** 2 + (columns - width // 2) ** 2 < radius**2


NOTHING = disc(0)


@pytest.fixture
def truth_row(tmp_path, image_row):
    """Writes a radiograph and its true mask as PNG and returns the row of the dataset."""

    def write(name, mask, label=None, split="test", **changes):
        paths = {kind: tmp_path / "archive" / kind / f"{name}.png" for kind in ("images", "masks")}
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        ramp = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8)
        Image.fromarray(ramp).save(paths["images"])
        Image.fromarray(mask.astype(np.uint8) * 255).save(paths["masks"])
        row = image_row(name, label, split, uri=str(paths["images"]))
        return row | {"mask_uri": str(paths["masks"]), "patient_id": f"patient-of-{name}"} | changes

    return write


@pytest.fixture
def mask_row(prediction_row):
    """Makes a row of masks: segmented, or failed if the mask is None."""

    def make(name, mask, **changes):
        row = prediction_row(name, None)
        if mask is None:
            return row | changes
        counts = {"mask_height": mask.shape[0], "mask_width": mask.shape[1], "mask_counts": encode_mask(mask)}
        return row | {"status": "ok", "error_kind": None, "error": None, **counts} | changes

    return make


@pytest.fixture
def evaluation(tmp_path):
    """Writes both tables as the jobs do and returns the config that compares them."""

    def write(images, masks, **choices):
        write_table(pa.Table.from_pylist(images, schema=DATASET), str(tmp_path / "dataset.parquet"))
        half = (len(masks) + 1) // 2
        for part, rows in enumerate((masks[:half], masks[half:])):
            table = pa.Table.from_pylist([{key: row.get(key) for key in MASKS.names} for row in rows], schema=MASKS)
            write_table(table, str(tmp_path / f"segmented/masks/{part}.parquet"))
        return EvaluateSegmenterConfig(
            predictions_uri=str(tmp_path / "segmented"),
            dataset_uri=str(tmp_path / "dataset.parquet"),
            output_uri=str(tmp_path / "evaluation"),
            **choices,
        )

    return write


@pytest.fixture
def small_evaluation(evaluation, truth_row, mask_row):
    """Six images of the split have a true mask: two good, one poor, one empty, one failed, one without a row."""

    def write(**choices):
        images = [
            truth_row("good", disc(40), "COVID"),
            truth_row("exact", disc(30), "Normal"),
            truth_row("poor", disc(40), "Normal"),
            truth_row("hollow", disc(40), "Viral Pneumonia"),
            truth_row("failed", disc(40), "COVID"),
            truth_row("forgotten", disc(40), "COVID"),
            truth_row("maskless", disc(40), "COVID", mask_uri=None),
            truth_row("elsewhere", disc(40), "COVID", split="train"),
        ]
        masks = [
            mask_row("exact", disc(30)),
            mask_row("good", disc(39)),
            mask_row("poor", disc(20)),
            mask_row("hollow", NOTHING, status="empty", mask_counts=None),
            mask_row("failed", None),
            mask_row("elsewhere", disc(5)),
            mask_row("unknown to the dataset", disc(5)),
        ]
        return evaluation(images, masks, **choices)

    return write


def words(page):
    """Text of the page as a reader sees it."""
    body = re.sub(r"<[^>]*>", " ", page.partition("<body>")[2])
    return " ".join(body.split())


def test_evaluation_writes_what_it_promises(small_evaluation, capsys):
    config = small_evaluation()
    metrics = evaluate_segmenter(config)

    output = Path(config.output_uri)
    assert json.loads((output / "metrics.json").read_text(), parse_constant=pytest.fail) == metrics
    counts = {name: value for name, value in metrics.items() if name.startswith("n_")}
    assert counts == {
        "n_images": 6,
        "n_judged": 4,
        "n_failures": 2,
        "n_errors": 1,
        "n_missing": 1,
        "n_truth_unreadable": 0,
        "n_both_empty": 0,
        "n_one_empty": 1,
        "n_without_truth": 1,
        "n_skipped": 0,
        "n_with_spacing": 0,
        "n_filled": 0,
        "n_excluded_by_flag": 0,
        "n_patients": 4,
        "n_without_patient": 0,
    }
    assert metrics["missing_first"] == ["forgotten"]
    assert metrics["errors_by_kind"] == {"truncated": 1}
    assert metrics["provenance"]["model_id"] == ["resnet50-0123456789ab"]
    with Image.open(output / "segmentations.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 400
    page = (output / "report.html").read_text()
    assert page.count("data:image/jpeg") == 3
    assert "://" not in page
    assert "First images without a row forgotten" in words(page)
    report = (output / "report.txt").read_text()
    assert "First images without a row: forgotten" in report
    assert "Images judged: 4 of 6 (two empty masks: 0, one empty mask: 1)" in report
    assert capsys.readouterr().out == f"{report}\n{output / 'report.html'}\n"
    assert json.loads((output / "run.json").read_text())["dsc"] == metrics["dsc"]["mean"]


@pytest.mark.slow
def test_figures_follow_from_the_masks(small_evaluation):
    config = small_evaluation()
    metrics = evaluate_segmenter(config)

    rows = {row["image_id"]: row for row in pq.read_table(Path(config.output_uri) / "rows.parquet").to_pylist()}
    statuses = {name: row["status"] for name, row in rows.items()}
    assert statuses == {
        "exact": "ok",
        "failed": "error",
        "forgotten": "missing",
        "good": "ok",
        "hollow": "empty",
        "poor": "ok",
    }
    assert [rows["exact"][metric] for metric in METRICS] == [1, 1, 1, 0]
    assert [rows["hollow"][metric] for metric in METRICS] == [0, 0, 0, np.hypot(HEIGHT, WIDTH)]
    assert [rows["failed"][metric] for metric in METRICS] == [None] * 4
    good = 2 * disc(39).sum() / (disc(39).sum() + disc(40).sum())
    assert rows["good"]["dsc"] == pytest.approx(good)
    assert rows["good"]["nsd"] == 1
    assert rows["poor"]["nsd"] == 0
    assert rows["poor"]["hd95"] == pytest.approx(20, abs=0.5)
    assert rows["poor"]["predicted_area_fraction"] == pytest.approx(disc(20).mean())
    assert rows["poor"]["true_area_fraction"] == pytest.approx(disc(40).mean())
    judged = [row["dsc"] for row in rows.values() if row["dsc"] is not None]
    assert metrics["dsc"]["mean"] == pytest.approx(np.mean(judged))
    assert metrics["dsc_failures_as_zero"] == pytest.approx(sum(judged) / 6)
    assert metrics["hd95"]["n"] == 4
    assert metrics["hd95"]["mean"] == pytest.approx(
        np.mean([rows[name]["hd95"] for name in ("exact", "good", "poor")] + [160])
    )
    assert [rows["exact"][metric] for metric in MM_METRICS] == [None, None]


@pytest.mark.slow
def test_every_class_has_its_own_counts_and_metrics(small_evaluation):
    per_class = evaluate_segmenter(small_evaluation())["per_class"]

    counts = {label: (row["n_images"], row["n_judged"], row["n_failures"]) for label, row in per_class.items()}
    assert counts == {"COVID": (3, 1, 2), "Normal": (2, 2, 0), "Viral Pneumonia": (1, 1, 0)}
    assert per_class["Viral Pneumonia"]["dsc"]["mean"] == 0
    assert per_class["Viral Pneumonia"]["hd95"]["mean"] == np.hypot(HEIGHT, WIDTH)


def test_dataset_without_labels_has_no_classes(evaluation, truth_row, mask_row):
    config = evaluation([truth_row("a", disc(40))], [mask_row("a", disc(40))])
    metrics = evaluate_segmenter(config)

    assert metrics["per_class"] == {}
    assert "<h2>Classes</h2>" not in Path(config.output_uri, "report.html").read_text()


@pytest.mark.slow
def test_no_output_names_a_patient(small_evaluation):
    config = small_evaluation()
    evaluate_segmenter(config)

    output = Path(config.output_uri)
    rows = pq.read_table(output / "rows.parquet")
    texts = [(output / name).read_text() for name in ("metrics.json", "report.txt", "report.html", "run.json")]
    assert not any("patient-of" in text for text in [*texts, str(rows.to_pydict())])
    assert not {"patient_id", "patient_key", "mask_counts"} & set(rows.column_names)


def test_true_mask_takes_the_size_of_the_predicted_one(evaluation, truth_row, mask_row):
    small = disc(20, height=48, width=64)
    large = np.kron(small, np.ones((2, 2), dtype=bool))
    config = evaluation(
        [truth_row("a", small), truth_row("b", NOTHING)], [mask_row("a", large), mask_row("b", NOTHING, status="empty")]
    )

    assert evaluate_segmenter(config)["dsc"]["mean"] == 1


@pytest.mark.slow
def test_any_shade_but_black_is_lung(evaluation, truth_row, mask_row):
    row = truth_row("a", disc(40))
    Image.fromarray(disc(40).astype(np.uint8)).save(row["mask_uri"])
    coloured = truth_row("b", disc(40))
    Image.fromarray(np.stack([disc(40) * np.uint8(255)] * 3, axis=-1)).save(coloured["mask_uri"])
    config = evaluation([row, coloured], [mask_row("a", disc(40)), mask_row("b", disc(40))])

    assert evaluate_segmenter(config)["dsc"]["mean"] == 1


@pytest.mark.slow
def test_two_empty_masks_agree_and_are_counted(evaluation, truth_row, mask_row):
    images = [truth_row("a", NOTHING), truth_row("b", disc(40)), truth_row("c", NOTHING)]
    without_size = {"mask_height": None, "mask_width": None, "mask_counts": None}
    masks = [
        mask_row("a", NOTHING, status="empty", **without_size),
        mask_row("b", disc(40)),
        mask_row("c", disc(3)),
    ]
    config = evaluation(images, masks)
    metrics = evaluate_segmenter(config)

    assert (metrics["n_both_empty"], metrics["n_one_empty"]) == (1, 1)
    assert metrics["dsc"]["mean"] == pytest.approx(2 / 3)
    assert metrics["hd95"]["n"] == 3
    assert metrics["hd95"]["mean"] == pytest.approx(np.hypot(HEIGHT, WIDTH) / 3)
    assert "HD95 of an image with one empty mask is the diagonal" in Path(config.output_uri, "report.txt").read_text()
    assert Path(config.output_uri, "report.html").read_text().count("data:image/jpeg") == 2


def test_sheet_can_show_nothing_where_all_masks_are_empty(evaluation, truth_row, mask_row):
    config = evaluation([truth_row("a", NOTHING)], [mask_row("a", NOTHING, status="empty")])

    assert evaluate_segmenter(config)["dsc"]["mean"] == 1
    with Image.open(Path(config.output_uri, "segmentations.png")) as sheet:
        assert sheet.format == "PNG"


def test_unreadable_truth_is_no_fault_of_the_segmenter(evaluation, truth_row, mask_row, tmp_path):
    images = [truth_row(name, disc(40), "COVID") for name in "abc"]
    config = evaluation(images, [mask_row(name, disc(40)) for name in "abc"])
    Path(images[0]["mask_uri"]).unlink()
    Path(images[1]["mask_uri"]).write_bytes(Path(images[1]["mask_uri"]).read_bytes()[:60])
    metrics = evaluate_segmenter(config)

    assert (metrics["n_judged"], metrics["n_truth_unreadable"], metrics["n_failures"]) == (1, 2, 0)
    assert metrics["dsc_failures_as_zero"] == 1
    rows = pq.read_table(Path(config.output_uri) / "rows.parquet")
    assert rows["status"].to_pylist() == ["truth_unreadable", "truth_unreadable", "ok"]
    assert rows["error_kind"].to_pylist() == ["not_found", "truncated", None]
    assert (
        "Images excluded because their true mask cannot be read: 2" in Path(config.output_uri, "report.txt").read_text()
    )

    Path(images[2]["mask_uri"]).unlink()
    with pytest.raises(DatasetError, match=r"no true mask of .*dataset\.parquet can be read \(not_found\)"):
        evaluate_segmenter(config)


@pytest.mark.slow
def test_absent_radiographs_leave_their_contours(small_evaluation, tmp_path):
    config = small_evaluation()
    (tmp_path / "archive" / "images" / "good.png").unlink()
    evaluate_segmenter(config)

    page = Path(config.output_uri, "report.html").read_text()
    assert page.count("data:image/jpeg") == 3
    assert "radiograph: not found" in words(page)


@pytest.mark.slow
def test_a_spacing_can_be_given(small_evaluation):
    config = small_evaluation(tolerance_mm=5, pixel_spacing_mm=0.2)
    metrics = evaluate_segmenter(config)

    assert metrics["hd95_mm"]["mean"] == pytest.approx(0.2 * metrics["hd95"]["mean"])
    assert metrics["nsd_mm"]["mean"] == pytest.approx(3 / 4)  # 20 px are 4 mm; the empty mask stays at 0
    assert metrics["nsd"]["mean"] == pytest.approx(2 / 4)
    assert metrics["spacing_sources"] == {"given": 4}
    text = words(Path(config.output_uri, "report.html").read_text())
    assert "NSD at 5 mm" in text
    assert "Pixel spacing: known for 4 of 4 images" in text


@pytest.mark.slow
def test_all_splits_and_the_folder_itself_are_read_too(small_evaluation):
    config = small_evaluation(split="all")
    inner = dataclasses.replace(config, predictions_uri=f"file://{config.predictions_uri}/masks")

    metrics = evaluate_segmenter(inner)
    assert (metrics["n_images"], metrics["n_judged"]) == (7, 5)


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (["a"], {}, r"segmented holds no row for the 1 images with a mask_uri in split 'test'"),
        (["a"], {"a": None, "b": disc(4)}, r"segmented none of the 1 images .* fix the errors: 1 truncated"),
        ([], {"a": disc(4)}, r"split 'test' of .*dataset\.parquet has no image with a mask_uri"),
    ],
)
def test_nothing_to_compare_is_refused(evaluation, truth_row, mask_row, images, masks, message):
    rows = [truth_row(name, disc(40)) for name in images] + [truth_row("z", disc(40), mask_uri=None)]
    config = evaluation(rows, [mask_row(name, mask) for name, mask in masks.items()])

    with pytest.raises(DatasetError, match=message):
        evaluate_segmenter(config)


def test_image_segmented_twice_is_refused(evaluation, truth_row, mask_row):
    config = evaluation([truth_row("a", disc(40))], [mask_row("a", disc(40)), mask_row("a", disc(4))])

    with pytest.raises(DatasetError, match=r"'a' occurs 2 times in .*segmented/masks .*--overwrite"):
        evaluate_segmenter(config)


def test_row_without_its_mask_is_refused(evaluation, truth_row, mask_row):
    config = evaluation([truth_row("a", disc(40))], [mask_row("a", disc(40), mask_counts=None)])

    with pytest.raises(DatasetError, match=r"1 rows of masks have status ok but no mask, first 'a'"):
        evaluate_segmenter(config)


def test_mask_of_another_size_than_it_says_is_refused(evaluation, truth_row, mask_row):
    config = evaluation([truth_row("a", disc(40))], [mask_row("a", disc(40), mask_height=HEIGHT + 1)])

    with pytest.raises(StorageError, match=r"image 'a': mask_counts .* of a 97 x 128 mask"):
        evaluate_segmenter(config)


def test_table_of_another_kind_is_refused(small_evaluation):
    config = small_evaluation()
    swapped = dataclasses.replace(config, predictions_uri=config.dataset_uri)

    with pytest.raises(StorageError, match=r"has no column .*mask_counts"):
        evaluate_segmenter(swapped)


def as_scores(config, tmp_path, statuses):
    """Writes the masks as the cascade does: the status and model of the mask in columns of their own."""
    rows = [row for path in sorted(tmp_path.glob("segmented/masks/*")) for row in pq.read_table(path).to_pylist()]
    for row in rows:
        mask_status = statuses.get(row["image_id"], None if row["status"] == "error" else row["status"])
        if mask_status == "skipped":
            row |= {"mask_height": None, "mask_width": None, "mask_counts": None}
        of_mask = {"mask_model_id": "dynunet-1", "mask_preprocessing_id": "p"}
        row.update({"mask_status": mask_status}, **(of_mask if mask_status in ("ok", "empty") else {}))
        row["status"] = "error" if row["status"] == "error" else "ok"
    schema = pa.schema([*MASKS, *CASCADE_FIELDS])
    write_table(pa.Table.from_pylist(rows, schema=schema), str(tmp_path / "cascade/scores/0.parquet"))
    return dataclasses.replace(config, predictions_uri=str(tmp_path / "cascade"))


@pytest.mark.slow
def test_what_a_cascade_skipped_is_no_failure(small_evaluation, tmp_path):
    config = as_scores(small_evaluation(), tmp_path, {"poor": "skipped"})
    metrics = evaluate_segmenter(config)
    counts = [metrics[f"n_{name}"] for name in ("images", "judged", "errors", "missing", "skipped", "one_empty")]
    assert counts == [5, 3, 1, 1, 1, 1]
    assert metrics["provenance"]["model_id"] == ["dynunet-1"]
    assert (
        "Images excluded because the cascade's rule skipped them: 1" in (tmp_path / "evaluation/report.txt").read_text()
    )
    assert "Images that the cascade's rule skipped, which the metrics exclude: 1" in words(
        (tmp_path / "evaluation/report.html").read_text()
    )


def test_a_rule_that_skips_all_is_refused(evaluation, truth_row, mask_row, tmp_path):
    config = as_scores(evaluation([truth_row("a", disc(40))], [mask_row("a", disc(40))]), tmp_path, {"a": "skipped"})
    with pytest.raises(
        DatasetError, match="the rule of the cascade skipped all 1 images with a mask_uri; score them with more"
    ):
        evaluate_segmenter(config)


def another_segmentation(tmp_path, rows):
    table = pa.Table.from_pylist([{key: row.get(key) for key in MASKS.names} for row in rows], schema=MASKS)
    write_table(table, str(tmp_path / "another/masks/0.parquet"))
    return str(tmp_path / "another")


def test_masks_of_other_files_under_the_same_names_are_refused(evaluation, truth_row, mask_row):
    images = [truth_row(name, disc(40), content_sha256=f"{name}{name}") for name in "ab"]
    config = evaluation(images, [mask_row(name, disc(40), content_sha256=f"{name}a") for name in "ab"])
    with pytest.raises(DatasetError, match=r"masks segmented other files than 1 of the dataset's images, first 'b' "):
        evaluate_segmenter(config)


def test_segmentations_of_different_files_are_not_compared(evaluation, truth_row, mask_row, tmp_path):
    images = [truth_row(name, disc(40)) for name in "ab"]  # the dataset does not know their content
    another = another_segmentation(tmp_path, [mask_row(name, disc(30), content_sha256="1") for name in "ab"])
    masks = [mask_row("a", disc(40), content_sha256="1"), mask_row("b", disc(40), content_sha256="2")]
    config = evaluation(images, masks, compare_uris=(another,))
    with pytest.raises(DatasetError) as refused:
        evaluate_segmenter(config)
    assert str(refused.value).startswith(
        f"{another} segmented other files than 1 of the images of {config.predictions_uri}, first 'b'"
    )


@pytest.mark.slow
def test_segmentations_of_the_same_files_are_compared(evaluation, truth_row, mask_row, tmp_path):
    another = another_segmentation(tmp_path, [mask_row("a", disc(30), content_sha256="1", model_id="other")])
    images = [truth_row("a", disc(40), content_sha256="1")]
    metrics = evaluate_segmenter(evaluation(images, [mask_row("a", disc(40))], compare_uris=(another,)))
    assert [one["model_id"] for one in metrics["comparison"]] == ["resnet50-0123456789ab", "other"]
    difference = metrics["comparison"][1]["minus_first"]["dsc"]
    assert difference["mean"] == pytest.approx(2 * disc(30).sum() / (disc(30).sum() + disc(40).sum()) - 1)
    assert "difference to the first" in Path(tmp_path / "evaluation/report.txt").read_text()


def test_a_cascade_that_skipped_all_images_is_named_where_it_is_compared(evaluation, truth_row, mask_row, tmp_path):
    config = evaluation([truth_row("a", disc(40))], [mask_row("a", disc(40))])
    cascade = as_scores(config, tmp_path, {"a": "skipped"}).predictions_uri
    with pytest.raises(
        DatasetError, match=r"cascade segmented none of the 1 images .*: the rule of the cascade skipped 1; score them"
    ):
        evaluate_segmenter(dataclasses.replace(config, compare_uris=(cascade,)))


@pytest.mark.parametrize("place", ["segmented", "segmented/", "../{0}/segmented"])
def test_an_output_in_the_folder_of_the_masks_is_refused(evaluation, truth_row, mask_row, tmp_path, place):
    config = evaluation([truth_row("a", disc(40))], [mask_row("a", disc(40))])
    config = dataclasses.replace(config, output_uri=f"{tmp_path}/{place.format(tmp_path.name)}")
    with pytest.raises(ConfigError, match="output_uri must be another folder than predictions_uri; got"):
        evaluate_segmenter(config)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 12, 40])
def test_no_image_is_on_the_sheet_twice(count):
    dsc = np.random.default_rng(0).permutation(count) / max(count, 1)
    rows = pa.table({"dsc": dsc, "predicted_area_fraction": np.ones(count), "true_area_fraction": np.ones(count)})

    chosen = {kind: dsc[positions] for kind, positions in choose_panels(rows).items()}

    shown = [value for values in chosen.values() for value in values]
    assert len(set(shown)) == len(shown) == min(12, count if count < 3 else 3 * (count // 3))
    if count >= 3:
        each = len(chosen["Best"])
        assert sorted(chosen["Best"], reverse=True) == sorted(dsc, reverse=True)[:each]
        assert list(chosen["Worst"]) == sorted(dsc)[:each]
        assert abs(np.median(chosen["Median"]) - np.median(dsc)) <= 1 / count


def test_overlay_shows_both_contours_in_the_proportions_of_the_masks():
    picture = overlay(np.full((30, 40), 200, dtype=np.uint8), disc(20), disc(40))

    assert picture.shape == (PANEL_SIDE * HEIGHT // WIDTH, PANEL_SIDE, 3)
    colours = {tuple(map(int, colour)) for colour in picture.reshape(-1, 3)}
    assert {ImageColor.getrgb(TRUE_COLOUR), ImageColor.getrgb(PREDICTED_COLOUR), (200, 200, 200)} <= colours


def test_equal_contours_both_show():
    picture = overlay(None, disc(40), disc(40)).reshape(-1, 3)

    for colour in (TRUE_COLOUR, PREDICTED_COLOUR):
        assert (picture == ImageColor.getrgb(colour)).all(axis=1).sum() > 500


@pytest.mark.slow
def test_sheet_takes_any_name_and_none():
    pixels = overlay(None, disc(20), disc(40))
    panel = Panel(
        kind="Best", image_id=r"$\\broken^{$.png" * 4, dsc=0.5, nsd=0.25, pixels=pixels, error_kind="not_found"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheets = [Image.open(io.BytesIO(sheet_png(panels))) for panels in ([panel], [panel] * 4, [])]

    assert [sheet.format for sheet in sheets] == ["PNG"] * 3
    assert sheets[1].width > 2 * sheets[0].width


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"split": "dev"}, r"split must be one of train, val, test, all; got 'dev'"),
        ({"tolerance": -1.0}, r"tolerance must be a finite number >= 0; got -1\.0"),
        ({"tolerance": float("nan")}, r"tolerance must be a finite number >= 0; got nan"),
        ({"tolerance_mm": float("inf")}, r"tolerance_mm must be a finite number >= 0; got inf"),
        ({"exclude_flags": ("upside_down",)}, r"exclude_flags must be some of inverted, .*; got 'upside_down'"),
        ({"pixel_spacing_mm": 0.0}, r"pixel_spacing_mm must be a finite number > 0; got 0\.0"),
    ],
)
def test_bad_value_is_named_with_its_fix(choice, message):
    with pytest.raises(ConfigError, match=message):
        EvaluateSegmenterConfig(predictions_uri="p", dataset_uri="d", output_uri="o", **choice)


@pytest.mark.realdata
@pytest.mark.slow
def test_real_radiographs_fill_the_sheet(evaluation, mask_row, shared_data):
    lungs = shared_data / "lungs"
    if not lungs.is_dir():
        pytest.skip(f"no lung masks at {lungs}")
    images, masks = [], []
    for shift, path in enumerate(sorted((lungs / "masks").iterdir())[:12]):
        row = {"image_id": path.name, "uri": str(lungs / "images" / path.name), "split": "test"}
        images.append(row | {"mask_uri": str(path)})
        truth = np.asarray(Image.open(path).convert("L")) > 0
        masks.append(mask_row(path.name, np.roll(truth, shift, axis=1)))
    config = evaluation(images, masks)
    metrics = evaluate_segmenter(config)

    rows = pq.read_table(Path(config.output_uri) / "rows.parquet")
    assert rows["nsd"].to_pylist()[:2] == [1, 1]
    assert metrics["n_judged"] == 12
    assert rows["hd95"].to_pylist()[0] == 0
    assert max(rows["dsc"].to_pylist()[1:]) < rows["dsc"][0].as_py() == 1
    assert Path(config.output_uri, "report.html").read_text().count("data:image/jpeg") == 12


@pytest.mark.slow
def test_flagged_images_are_left_out_and_counted(evaluation, truth_row, mask_row, tmp_path):
    images = [truth_row(name, disc(40)) for name in "abc"]
    masks = [mask_row("a", disc(40)), mask_row("b", disc(20)), mask_row("c", disc(20))]
    config = evaluation(images, masks, exclude_flags=("inverted", "rotated_90"))
    with pytest.raises(DatasetError, match=r"masks has no column qc_flags, which exclude_flags needs"):
        evaluate_segmenter(config)

    flags = {"a": ["clipped_dark"], "b": ["inverted", "rotated_90"], "c": ["inverted"]}
    for path in (tmp_path / "segmented/masks").iterdir():
        table = pq.read_table(path)
        column = pa.array([flags[name] for name in table["image_id"].to_pylist()], pa.list_(pa.string()))
        pq.write_table(table.append_column("qc_flags", column), path)
    metrics = evaluate_segmenter(config)

    assert (metrics["n_images"], metrics["dsc"]["mean"], metrics["n_without_truth"]) == (1, 1, 0)
    assert (metrics["n_excluded_by_flag"], metrics["excluded_by_flag"]) == (2, {"inverted": 2, "rotated_90": 1})
    line = "Images excluded by their quality flags: 2 (inverted: 2, rotated_90: 1)"
    assert line in (tmp_path / "evaluation/report.txt").read_text()
    assert line in words((tmp_path / "evaluation/report.html").read_text())
