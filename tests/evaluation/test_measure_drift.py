import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cxr_ray.archive.tables import write_table
from cxr_ray.config.drift import MeasureDriftConfig
from cxr_ray.errors import ConfigError, DatasetError, GateError
from cxr_ray.evaluation.measure_drift import measure_drift, one_image_of_each_patient


@pytest.fixture
def outputs(tmp_path, predictions_table, prediction_row):
    """Writes two outputs of 120 images and returns the config that compares them."""

    def write(sick: float = 0.3, confidence: float = 0.7, extra: float | None = None, **changes):
        generator = np.random.default_rng(0)
        for side, part, sure in (("reference", 0.3, 0.7), ("current", sick, confidence)):
            of_side = changes if side == "current" else {}
            rows = [
                prediction_row(
                    f"{side}{n}",
                    "COVID" if n < 120 * part else "Normal",
                    sure + generator.uniform(-0.1, 0.1),
                    format="png",
                    **of_side,
                )
                for n in range(120)
            ]
            table = predictions_table([*rows, prediction_row(f"{side}broken", None, **of_side)])
            if extra is not None:
                shift = extra if side == "current" else 0.0
                table = table.append_column("mean_intensity", pa.array(generator.normal(shift, size=121)))
            write_table(table, str(tmp_path / side / "predictions/0.parquet"))
        uris = {f"{side}_uri": str(tmp_path / side) for side in ("reference", "current")}
        return MeasureDriftConfig(output_uri=str(tmp_path / "drift"), **uris)

    return write


def test_outputs_of_one_distribution_have_not_drifted(outputs, tmp_path, capsys):
    config = outputs(extra=0.0)
    result = measure_drift(dataclasses.replace(config, fail_on_drift=True))

    assert result["drifted"] == []
    assert json.loads((tmp_path / "drift/drift.json").read_text()) == result
    assert {"label", "confidence", "format", "status", "mean_intensity", "prob_covid"} <= {
        row["column"] for row in result["columns"]
    }
    assert result["not_compared"]["modality"] == "both outputs have no value"
    assert (tmp_path / "drift/drift.txt").read_text() in capsys.readouterr().out
    with Image.open(tmp_path / "drift/drift.png") as figure:
        assert figure.format == "PNG"


def test_each_kind_of_drift_is_found_and_named(outputs, tmp_path):
    config = outputs(sick=0.6, confidence=0.8, extra=1.0)
    result = measure_drift(config)

    rows = {row["column"]: row for row in result["columns"]}
    assert {"label", "confidence", "mean_intensity"} <= set(result["drifted"])
    assert not rows["format"]["drifted"]
    assert rows["label"]["reference"]["COVID"] == pytest.approx(0.3)
    assert rows["label"]["current"]["COVID"] == pytest.approx(0.6)
    assert all(row["p_value_holm"] >= row["p_value"] for row in rows.values() if row["p_value"] is not None)
    table = pq.read_table(tmp_path / "drift/drift.parquet")
    assert table["column"].to_pylist() == [row["column"] for row in result["columns"]]

    with pytest.raises(GateError, match=r"of \d+ columns drifted: .*label.*; see"):
        measure_drift(dataclasses.replace(config, fail_on_drift=True))
    assert measure_drift(dataclasses.replace(config, min_effect=1.0))["drifted"] == []


def test_outputs_that_cannot_be_compared_are_refused(outputs):
    with pytest.raises(DatasetError, match=r"has the model_id resnet50-0123456789ab, and .* other; score both"):
        measure_drift(outputs(model_id="other"))
    config = outputs()
    with pytest.raises(DatasetError, match="the reference output has no column 'age'"):
        measure_drift(dataclasses.replace(config, columns=("age",)))
    with pytest.raises(DatasetError, match=r"column 'view_position' cannot be compared: both outputs have no value"):
        measure_drift(dataclasses.replace(config, columns=("view_position",)))
    with pytest.raises(ConfigError, match="output_uri must be another folder than current_uri"):
        measure_drift(dataclasses.replace(config, output_uri=config.current_uri))


def test_patients_count_once():
    table = pa.table({"image_id": list("abcdef"), "patient_key": ["p", "p", "q", None, None, "q"]})

    drawn = [one_image_of_each_patient(table, seed)["image_id"].to_pylist() for seed in range(20)]
    assert {len(ids) for ids in drawn} == {4}
    assert all({"d", "e"} <= set(ids) for ids in drawn)
    assert len({tuple(ids) for ids in drawn}) > 2
    assert one_image_of_each_patient(table, 3).equals(one_image_of_each_patient(table.take([5, 4, 3, 2, 1, 0]), 3))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"level": 0.0}, "level must be between 0 and 1; got 0.0"),
        ({"min_effect": 1.5}, "min_effect must be 0 to 1; got 1.5"),
        ({"seed": -1}, "seed must be >= 0; got -1"),
    ],
)
def test_bad_options_are_named(choice, message):
    with pytest.raises(ConfigError, match=message):
        MeasureDriftConfig(reference_uri="r", current_uri="c", output_uri="o", **choice)
