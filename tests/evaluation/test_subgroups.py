import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.scored_arrays import Scored
from cxr_ray.evaluation.subgroups import read_metadata, subgroup_metrics, subgroup_values


@pytest.fixture
def scored():
    truth = np.arange(24) % 2
    predicted = np.where(np.arange(24) < 12, truth, 1 - truth)  # the first half is right
    probabilities = np.eye(2)[predicted] * 0.6 + 0.2
    return Scored(
        labels=("a", "b"), truth=truth, predicted=predicted, probabilities=probabilities, groups=np.arange(24) // 2
    )


def test_each_value_is_evaluated_apart(scored):
    values = ["AP"] * 10 + ["PA"] * 12 + [None, ""]
    found = subgroup_metrics(scored, values, resamples=20, seed=0)

    assert {name: (row["n"], row["n_patients"]) for name, row in found.items()} == {
        "PA": (12, 6),
        "AP": (10, 5),
        "unknown": (2, 1),
    }
    assert [found[name]["accuracy"] for name in ("PA", "AP", "unknown")] == pytest.approx([2 / 12, 1, 0])
    assert found["AP"]["recall"] == {"a": 1, "b": 1}
    assert found["AP"]["support"] == {"a": 5, "b": 5}
    assert found["AP"]["intervals"]["accuracy"][0] < 0.85, "five patients prove little"


def test_many_numbers_are_divided_at_their_quartiles(scored):
    found = subgroup_metrics(
        scored, [float(n) for n in range(20)] + [None, float("nan"), 3.0, 3.0], resamples=20, seed=0
    )

    assert sum(row["n"] for row in found.values()) == 24
    assert found.pop("unknown")["n"] == 2
    assert sorted(found) == ["[0, 3.25)", "[13.75, 19]", "[3.25, 8.5)", "[8.5, 13.75)"]


def test_rare_values_are_evaluated_together(scored):
    found = subgroup_metrics(scored, ["big", "big", *(f"v{n:02}" for n in range(22))], resamples=20, seed=0)

    assert len(found) == 21
    assert found["other (3 values)"]["n"] == 3


def test_values_are_found_by_image(tmp_path):
    (tmp_path / "m.csv").write_text("path,age,sex\na,30,F\nb,,M\n")
    pq.write_table(pa.table({"image_id": ["a"], "view": ["PA"]}), tmp_path / "m.parquet")
    sources = {"m": read_metadata(str(tmp_path / "m.csv")), "p": read_metadata(str(tmp_path / "m.parquet"))}

    assert subgroup_values(["b", "a", "c"], ["age", "view"], sources) == {
        "age": [None, 30, None],
        "view": [None, "PA", None],
    }


def test_metadata_of_other_images_are_refused(tmp_path):
    with pytest.raises(
        DatasetError, match="m knows none of the images, the first of which is 'z'; its first image is 'a'"
    ):
        subgroup_values(["z"], ["age"], {"m": pa.table({"image_id": ["a"], "age": [3]})})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,age\na,3\n", "has neither image_id nor path; it has name, age"),
        ("path,age\na,3\na,4\n", "'a' occurs 2 times"),
        ("path,age\na,3,5\n", "is not readable as CSV"),
    ],
)
def test_bad_metadata_are_refused(tmp_path, content, message):
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_metadata(str(tmp_path / "m.csv"))
