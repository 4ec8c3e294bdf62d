"""Every column of the table of predictions must be aligned with its heading."""

import re

import numpy as np
import pytest

from cxr_ray.errors import ImageError
from cxr_ray.evaluation.prediction_lines import LONGEST_NAME, PredictionLines
from cxr_ray.imaging.mask_runs import MaskRuns
from cxr_ray.models.classifier import Prediction
from cxr_ray.models.lung_segmentation import LungSegmentation

LABELS = ("COVID", "Lung_Opacity", "Normal")
IMAGES = ("a.png", "a/rather/long/name.dcm", "x" * 100 + ".png")


def prediction(label, *probabilities):
    named = dict(zip(LABELS, probabilities, strict=True))
    return Prediction(label=label, confidence=max(probabilities), probabilities=named, entropy=0.1)


def segmentation(area):
    empty = np.zeros((2, 2), np.float32)
    covered = round(1000 * area)
    return LungSegmentation(
        runs=MaskRuns(height=1, width=1000, lengths=np.array([1000 - covered, covered])), uncertainty=1.234, symmetry=None, right=None, left=None,
        boxes_xyxy=np.zeros((0, 4), np.float32), entropy=empty,
    )  # fmt: skip


@pytest.mark.parametrize("lungs", [False, True])
def test_columns_are_aligned_for_any_values(lungs):
    lines = PredictionLines(IMAGES, LABELS, lungs=lungs)
    found = [segmentation(0.056), segmentation(1.0), segmentation(0)] if lungs else [None] * 3
    predictions = [
        prediction("COVID", 1.0, 0.0, 0.0), prediction("Lung_Opacity", 0.1, 0.85, 0.05), prediction("Normal", 0, 0, 1),
    ]  # fmt: skip
    table = [lines.heading(), *map(lines.line, IMAGES, predictions, found)]
    assert len({len(line) for line in table}) == 1
    columns = 7 if lungs else 5
    ends = [[match.end() for match in re.finditer(r"\S+", line)] for line in table]
    assert [len(row) for row in ends] == [columns] * 4
    assert {tuple(row[2:]) for row in ends} == {tuple(ends[0][2:])}, "numbers must be aligned at the right"
    starts = {re.search(name, line).start() for name, line in zip(("label", "COVID", "Lung_O", "Normal"), table)}  # noqa: B905
    assert len(starts) == 1
    assert "0.8500" in table[2]
    assert ("100.0%" in table[2]) == lungs


def test_an_error_is_one_line_with_its_kind():
    lines = PredictionLines(IMAGES, LABELS, lungs=False)
    line = lines.failure("a.png", ImageError("a.png", "truncated", "png ends before its last pixel"))
    assert re.fullmatch(r"a\.png +error: truncated: png ends before its last pixel", line)


def test_a_long_name_keeps_its_end():
    line = PredictionLines(IMAGES, LABELS, lungs=False).line(IMAGES[2], prediction("Normal", 0, 0, 1))
    assert line.startswith("…xxx")
    assert line.split()[0].endswith("x.png")
    assert len(line.split()[0]) == LONGEST_NAME


def test_a_single_label_may_be_absent():
    lines = PredictionLines(["a.png"], ["Pneumonia"], lungs=False)
    absent = Prediction(label="not_Pneumonia", confidence=0.9, probabilities={"Pneumonia": 0.1}, entropy=0.3)
    assert len(lines.line("a.png", absent)) == len(lines.heading())


def test_a_name_cannot_move_the_cursor():
    lines = PredictionLines(["a\n\x1b[2J.png"], LABELS, lungs=False)
    assert lines.line("a\n\x1b[2J.png", prediction("Normal", 0, 0, 1)).startswith("a??[2J.png ")
