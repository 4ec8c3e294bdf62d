import re

from cxr_ray.evaluation.segmentation_text import metric_names, report_text, shown_metrics

DSC = {"n": 5, "mean": 0.8, "sd": 0.15, "median": 0.9, "interval": [0.25, 0.75]}
NOTHING = {"n": 0, "mean": None, "sd": None, "median": None, "interval": None}
HD95 = {"n": 5, "mean": 12.34, "sd": 4.0, "median": 11.0, "interval": [8.5, 16.25]}
FIGURES = {"dsc": DSC, "iou": DSC | {"mean": 0.6}, "nsd": DSC | {"mean": 0.7}, "hd95": HD95}
FIGURES |= {"nsd_mm": NOTHING, "hd95_mm": NOTHING}
IN_MM = {"nsd_mm": DSC | {"n": 2, "interval": None}, "hd95_mm": HD95 | {"n": 2}}
NONE = (
    "both_empty",
    "one_empty",
    "failures",
    "truth_unreadable",
    "skipped",
    "without_truth",
    "with_spacing",
    "excluded_by_flag",
)
ALL_IS_WELL = {"tolerance": 1.5, "tolerance_mm": 2.0, "per_class": {}, "uncertainty": None, "comparison": []}
ALL_IS_WELL |= {
    "lungs": None,
    "readers": None,
    "fill_holes": False,
    "spacing_sources": {},
    "n_without_patient": 0,
    "excluded_by_flag": {},
}
ALL_IS_WELL |= {f"n_{name}": 0 for name in NONE}
ALL_IS_WELL |= FIGURES | {"n_judged": 5, "n_images": 5, "n_patients": 4, "missing_first": []}

CELLS = ("0.800 [0.250, 0.750]", "0.600 [0.250, 0.750]", "0.700 [0.250, 0.750]", "12.3 [8.500, 16.2]")


def lines_of(report):
    """Cells of each line of a table, which are at least two spaces apart."""
    return {tuple(re.split(r"\s{2,}", line.strip())) for line in report.splitlines()}


def test_a_report_without_failures_is_the_table_and_what_its_figures_are():
    assert report_text(ALL_IS_WELL) == (
        "                          n     mean       sd   median   95 % interval of the mean\n"
        "DSC                       5    0.800    0.150    0.900   0.250 to 0.750\n"
        "IoU                       5    0.600    0.150    0.900   0.250 to 0.750\n"
        "NSD at 1.5 px             5    0.700    0.150    0.900   0.250 to 0.750\n"
        "HD95 (px)                 5     12.3    4.000     11.0   8.500 to 16.2\n"
        "\n"
        "Images judged: 5 of 5 (two empty masks: 0, one empty mask: 0)\n"
        "Pixel spacing: known for 0 of 5 images, so that distances are in pixels only\n"
        "95 % intervals: Student's t over 4 patients\n"
    )


def test_figures_in_mm_are_rows_of_their_own():
    known = {"n_with_spacing": 2, "spacing_sources": {"imager_pixel_spacing": 1, "given": 1}}
    report = report_text(ALL_IS_WELL | IN_MM | known)
    assert (
        "HD95 (px)                 5     12.3    4.000     11.0   8.500 to 16.2\n"
        "NSD at 2 mm               2    0.800    0.150    0.900   -\n"
        "HD95 (mm)                 2     12.3    4.000     11.0   8.500 to 16.2\n"
    ) in report
    assert (
        "Pixel spacing: known for 2 of 5 images, the only ones in figures in mm"
        " (Imager Pixel Spacing (at the detector): 1, --pixel-spacing-mm: 1)\n"
    ) in report


def test_metrics_in_mm_are_shown_where_a_spacing_is_known():
    assert shown_metrics(ALL_IS_WELL) == ("dsc", "iou", "nsd", "hd95")
    assert shown_metrics(ALL_IS_WELL | {"n_with_spacing": 1})[4:] == ("nsd_mm", "hd95_mm")
    assert metric_names(ALL_IS_WELL)["nsd_mm"] == "NSD at 2 mm"


def test_a_report_lists_lungs_classes_and_segmenters():
    lung = FIGURES | {"n_missing": 1}
    minus = FIGURES | {"dsc": DSC | {"mean": -0.05, "interval": [-0.1, 0.01]}}
    report = report_text(
        ALL_IS_WELL
        | {
            "lungs": {"n_images": 4, "n_without_pair": 1, "right": lung, "left": lung | {"n_missing": 0}},
            "per_class": {"COVID": FIGURES | {"n_judged": 3, "n_failures": 1}},
            "comparison": [
                FIGURES | {"n_images": 4, "model_id": "dynunet-1", "predictions_uri": "s3://a"},
                FIGURES | {"n_images": 4, "model_id": "", "predictions_uri": "s3://b", "minus_first": minus},
            ],
        }
    )
    assert lines_of(report) >= {
        ("4 images with two true lungs", "DSC", "IoU", "NSD at 1.5 px", "HD95 (px)"),
        ("right lung of the patient (missing: 1)", *CELLS),
        ("left lung of the patient (missing: 0)", *CELLS),
        ("COVID (3, failed: 1)", *CELLS),
        ("dynunet-1", *CELLS),
        ("s3://b", *CELLS),
        ("difference to the first", "-0.050 [-0.100, 0.010]", *CELLS[1:]),
    }
    assert len({len(line) for line in report.splitlines() if line.startswith(("right", "left"))}) == 1
    assert "Images whose true mask does not have two lungs: 1" in report


def test_a_report_sets_readers_beside_predictions():
    worst = [{"image_id": "a.png", "readers_dsc": 0.626, "dsc": 0.9, "second_dsc": 0.6}]
    pairs = ("readers", "first", "second", "first_minus_readers", "second_minus_readers")
    counts = {"n_images": 44, "n_unreadable": 2, "n_without_second": 3, "lowest": worst}
    report = report_text(ALL_IS_WELL | {"readers": counts | dict.fromkeys(pairs, FIGURES)})
    names = ("second reader with the first", "predictions with the first", "predictions with the second")
    assert lines_of(report) >= {(name, *CELLS) for name in (*names, "difference, first", "difference, second")}
    assert "\n44 images of both readers" in report
    assert "Median DSC of the readers: 0.900;" in report
    assert "The readers differ most on: a.png 0.626\n" in report
    assert "Images without a mask of the second reader: 3\n" in report
    assert "Images whose mask of the second reader cannot be read: 2\n" in report


def test_a_report_names_every_reason_to_exclude_an_image():
    figures = {"n": 5, "spearman": 0.5, "risk_at_coverage": [[0.8, 0.1], [1.0, 0.2]]}
    counts = {"both_empty": 1, "one_empty": 2, "judged": 5, "images": 1234, "failures": 3, "errors": 2, "missing": 4}
    counts |= {"truth_unreadable": 6, "skipped": 7, "without_truth": 8, "without_patient": 4, "filled": 2}
    report = report_text(
        ALL_IS_WELL
        | {f"n_{name}": count for name, count in counts.items()}
        | {
            "uncertainty": figures | {"aurc": 0.1, "aurc_random": 0.2, "aurc_ideal": 0.05},
            "dsc_failures_as_zero": 0.4,
            "missing_first": ["a.png", "b.png"],
            "fill_holes": True,
            "excluded_by_flag": {"inverted": 2, "rotated_90": 1},
            "n_excluded_by_flag": 3,
        }
    )
    assert report.partition("\n\n")[2] == (
        "Uncertainty and error (1 - DSC) over 5 images: Spearman correlation 0.500; mean error 0.2000, "
        "of the 80% least uncertain images 0.1000; AURC 0.1000 (random order 0.2000, ideal order 0.0500)\n"
        "\n"
        "Images judged: 5 of 1,234 (two empty masks: 1, one empty mask: 2)\n"
        "HD95 of an image with one empty mask is the diagonal of the image.\n"
        "Pixel spacing: known for 0 of 5 images, so that distances are in pixels only\n"
        "95 % intervals: Student's t over 4 patients; 4 images of unknown patients count as of one patient each\n"
        "Images whose predicted mask had holes, which were filled: 2\n"
        "Images failed: 3 (with an error: 2, without a row: 4); with their DSC as 0, the mean DSC is 0.400\n"
        "First images without a row: a.png, b.png\n"
        "Images excluded because their true mask cannot be read: 6\n"
        "Images excluded because the cascade's rule skipped them: 7\n"
        "Images excluded because they have no true mask: 8\n"
        "Images excluded by their quality flags: 3 (inverted: 2, rotated_90: 1)\n"
    )
