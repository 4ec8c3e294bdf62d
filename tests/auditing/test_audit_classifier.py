"""The whole job: clean phantoms pass, and a mark that gives the class away, a source and a leak are found."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cxr_ray.auditing.audit_classifier import audit_classifier
from cxr_ray.errors import ConfigError, DatasetError, GateError

pytestmark = pytest.mark.slow
FIGURES = {"views.png", "heat.png", "robustness.png", "examples.png"}


def audited(drawn, **changes):
    """Findings by check and question, and the whole result, of an audit with sources."""
    sources = {"source_column": "hospital", "metadata_uri": drawn.sources_uri}
    result = audit_classifier(replace(drawn.config, **(sources | changes)), show=lambda _: None)
    return {(row["check"], row["question"]): row for row in result["findings"]}, result


@pytest.fixture(scope="module")
def of_clean(clean):
    return audited(clean)


@pytest.fixture(scope="module")
def of_marked(marked):
    return audited(marked)


@pytest.mark.long
def test_clean_phantoms_pass(of_clean):
    found, result = of_clean
    bad = {key: row["verdict"] for key, row in found.items() if key[0] in "abcef" and row["verdict"] != "pass"}
    assert bad == {("f", "letters and text covered"): "not measured"} or bad == {}
    assert result["views"]["whole image"]["as_is"]["accuracy"] > 0.85


@pytest.mark.long
def test_a_mark_that_gives_the_class_away_fails(of_marked):
    found, result = of_marked
    verdicts = {key: row["verdict"] for key, row in found.items()}
    for key in (
        ("a", "without lungs, retrained"),
        ("a", "border alone, retrained"),
        ("c", "source within Lung_Opacity"),
        ("c", "source within Normal"),
        ("c", "class from the source alone"),
        ("f", "letters and text covered"),
    ):
        assert verdicts[key] == "fail", found[key]
    assert verdicts["f", "corners covered"] in ("warn", "fail"), "160 images leave doubt about a tenth of the answers"
    assert found["f", "corners covered"]["value"] > 0.05
    assert result["verdict"] == "fail"


@pytest.mark.long
def test_the_outcome_is_written(of_clean, clean):
    _, result = of_clean
    folder = Path(clean.config.output_uri)
    assert json.loads((folder / "audit.json").read_text()) == result
    assert f"verdict: {result['verdict'].upper()}" in (folder / "audit.txt").read_text()
    assert {path.name for path in folder.glob("*.png")} == FIGURES
    for name in FIGURES:
        Image.open(folder / name).verify()
    assert json.loads((folder / "run.json").read_text())["verdict"] == result["verdict"]


def test_a_planted_leak_fails(clean):
    """A train image and its patient, which a table lists once more in the test split."""
    import pyarrow as pa

    rows = clean.table.to_pylist()
    splits = [row["split"] for row in rows]
    copies = [rows[number] | {"image_id": f"copy{number}", "split": "test"} for number in range(4)]
    config = clean.with_table(pa.Table.from_pylist(rows + copies, schema=clean.table.schema), "leak")
    result = audit_classifier(replace(config, max_images=60), show=lambda _: None)
    found = {row["question"]: row for row in result["findings"] if row["check"] == "e"}
    leaked = 4 / (splits.count("test") + 4)
    assert {name: row["verdict"] for name, row in found.items()} == dict.fromkeys(found, "fail")
    assert [row["value"] for row in found.values()] == pytest.approx([leaked, leaked])


def test_the_gate_ends_with_its_exit_code_and_keeps_the_files(marked, tmp_path):
    config = replace(marked.config, output_uri=str(tmp_path / "out"), fail_on="fail", max_images=60)
    with pytest.raises(GateError, match=r"the audit says fail, for check a.*; read .*audit\.txt") as failed:
        audit_classifier(config, show=lambda _: None)
    assert failed.value.exit_code == 3
    assert json.loads((tmp_path / "out/audit.json").read_text())["verdict"] == "fail"


@pytest.mark.long
def test_inversion_warns_at_most_and_levels_are_in_order(of_clean):
    found, result = of_clean
    assert found["d", "inversion"]["verdict"] in ("pass", "warn")
    assert [point["level"] for point in result["curves"]["rotation"]] == [5, 10, 20, 45]
    accuracies = [point["accuracy"] for point in result["curves"]["noise"]]
    assert accuracies[0] >= accuracies[-1]


def test_without_masks_only_what_needs_lungs_is_not_measured(clean):
    import pyarrow as pa

    place = clean.table.column_names.index("mask_uri")
    bare = clean.table.set_column(place, "mask_uri", pa.nulls(clean.table.num_rows, pa.string()))
    result = audit_classifier(replace(clean.with_table(bare, "bare"), max_images=60), show=lambda _: None)
    skipped = {row["question"] for row in result["findings"] if row["verdict"] == "not measured"}
    assert {"without lungs, as it is", "without lungs, retrained", "lungs alone, retrained", "Grad-CAM"} <= skipped
    assert result["views"]["border alone"]["as_is"] is not None
    assert result["views"]["lungs alone"] == {"as_is": None, "retrained": None}


def test_wrong_inputs_are_refused_in_one_line(clean):
    with pytest.raises(DatasetError, match="has no column 'ward' of source_column"):
        audited(clean, source_column="ward")
    with pytest.raises(ConfigError, match="output_uri"):
        audit_classifier(replace(clean.config, output_uri=clean.config.model_uri))
