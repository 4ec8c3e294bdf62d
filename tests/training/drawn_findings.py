"""Drawn radiographs with three independent findings, and a table of labels of which some are missing or uncertain."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_ray.phantoms.phantom_findings import PHANTOM_FINDINGS, draw_findings

SIZE = 40


def write_drawn_findings(folder: Path, *, images: int, seed: int = 0) -> np.ndarray:
    """Draw images below `folder/images`, two of each patient, and the table `folder/labels.csv`.

    The last 40 % are val and test images, whose labels are all known. In train, a finding is known only of images without the
    next finding (of the last the first), whether it is there or not, and one in ten of its known labels is uncertain.

    Returns:
        Which findings are there, bool [images, 3].
    """
    rng = np.random.default_rng(seed)
    truth = rng.random((images, len(PHANTOM_FINDINGS))) < 0.5
    (folder / "images").mkdir()
    for at in range(images):
        present = [name for name, there in zip(PHANTOM_FINDINGS, truth[at], strict=True) if there]
        pixels = draw_findings(present, seed=seed * 10_000 + at, size=SIZE, patient=at // 2)
        Image.fromarray(pixels).save(folder / "images" / f"{at:04}.png")
    splits = np.array(["train", "val", "test"])[np.digitize(np.arange(images) / images, (0.6, 0.8))]
    values = np.where(truth, "1", "0").astype(object)
    is_train = (splits == "train")[:, None]
    values[is_train & np.roll(truth, -1, axis=1)] = ""
    values[is_train & (values != "") & (rng.random(truth.shape) < 0.1)] = "-1"
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "patient", "split", *PHANTOM_FINDINGS])
        writer.writerows([f"{at:04}.png", f"p{at // 2}", splits[at], *values[at]] for at in range(images))
    return truth
