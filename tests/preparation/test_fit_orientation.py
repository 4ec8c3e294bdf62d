import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.archive.tables import write_table
from cxr_ray.config.orientation import FitOrientationConfig
from cxr_ray.errors import DatasetError
from cxr_ray.imaging.quality.orientation import bundled_model, read_orientation, standard_form
from cxr_ray.phantoms.phantom import PHANTOM_LABELS, draw_phantom
from cxr_ray.preparation.fit_orientation import MIN_IMAGES, fit_orientation, measure_orientation
from cxr_ray.schema import DATASET


@pytest.fixture
def config(tmp_path):
    """Writes a dataset of phantoms, and returns the config that fits them."""

    def write(train, test):
        rows = []
        for number in range(train + test):
            path = tmp_path / f"{number}.png"
            label = PHANTOM_LABELS[number % len(PHANTOM_LABELS)]
            Image.fromarray(draw_phantom(label, seed=number, size=64).pixels).save(path)
            split = "train" if number < train else "test"
            rows.append({"image_id": path.name, "uri": str(path), "label": label, "split": split})
        write_table(pa.Table.from_pylist(rows, schema=DATASET), str(tmp_path / "dataset.parquet"))
        return FitOrientationConfig(
            dataset_uri=str(tmp_path / "dataset.parquet"), output_uri=str(tmp_path / "orientation.json")
        )

    return write


@pytest.mark.slow
def test_weights_are_fitted_measured_and_written(config, capsys):
    settings = config(60, 40)
    fitted = fit_orientation(settings)

    assert json.loads(Path(settings.output_uri).read_text()) == fitted
    assert (fitted["n_train"], fitted["test"]["n_images"]) == (60, 40)
    flags = fitted["test"]["flags"]
    assert list(flags) == ["inverted", "rotated_90", "rotated_180", "rotated_270", "any"]
    assert min(row["recall"] for row in flags.values()) >= 0.95
    assert flags["any"]["false_alarms"] <= 0.05
    unseen = draw_phantom("Normal", seed=999, size=128).pixels
    found = read_orientation(settings.output_uri).orientation_of(np.ascontiguousarray(np.rot90(255 - unseen, -1)))
    assert found.inverted > 0.5
    assert found.rotated.argmax() == 1
    printed = capsys.readouterr().out
    assert "60 images fitted, 40 others measured, each inverted and rotated\ninverted     recall" in printed
    assert printed.endswith(f"{settings.output_uri}\n")


def test_too_few_images_are_refused(config):
    with pytest.raises(
        DatasetError, match=f"the split test has 3 images that can be read, fewer than {MIN_IMAGES}; prepare"
    ):
        fit_orientation(config(MIN_IMAGES, 3))


def test_figures_are_counted_from_the_flags_of_each_image():
    """Computed directly: the images are shown in each way, and flagged one by one."""
    pixels = [draw_phantom("COVID", seed=seed, size=64).pixels for seed in range(12)]
    pixels[3] = np.ascontiguousarray(np.rot90(pixels[3], -1))  # one image of the dataset lies on its side
    pixels[7] = 255 - pixels[7]
    measured = measure_orientation(bundled_model(), np.stack([standard_form(one) for one in pixels]))

    assert measured["flags"]["rotated_90"]["false_alarms"] == pytest.approx(1 / 12)
    assert measured["flags"]["inverted"]["false_alarms"] == pytest.approx(1 / 12)
    assert measured["flags"]["any"]["false_alarms"] == pytest.approx(2 / 12)
    assert measured["flags"]["inverted"]["recall"] == pytest.approx(11 / 12)
    assert measured["flags"]["rotated_180"]["recall"] == pytest.approx(11 / 12)
