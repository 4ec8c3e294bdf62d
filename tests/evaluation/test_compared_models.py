import pyarrow as pa
import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.compared_models import ENSEMBLE, ComparedModels, compare_tables, members_of
from cxr_ray.evaluation.scored_arrays import PATIENT


def table(labels: str, covid: list[float]) -> pa.Table:
    names = {"c": "COVID", "n": "Normal"}
    return pa.table(
        {
            "image_id": [str(n) for n in range(len(labels))],
            "label": [names[label] for label in labels],
            "prob_covid": covid,
            "prob_normal": [1 - p for p in covid],
        }
    )


TRUTH = "cncncncn"
FIRST = table(TRUTH, [0.9, 0.2, 0.8, 0.3, 0.4, 0.1, 0.7, 0.6])
SECOND = table(TRUTH, [0.6, 0.3, 0.2, 0.9, 0.9, 0.1, 0.7, 0.1])
PATIENTS = pa.table({"image_id": [str(n) for n in range(8)], PATIENT: list(range(8))})


def test_the_mean_of_all_models_is_a_model_of_its_own():
    models = ComparedModels(has_others=True)
    models.add("m", FIRST)
    models.add("m", SECOND.slice(0, 7))
    found = compare_tables(models, PATIENTS, resamples=20, seed=0)

    assert (found["n_images"], found["n_left_out"]) == (7, 1)
    assert list(found["models"]) == ["m", "m (2)", ENSEMBLE]
    accuracies = [row["accuracy"] for row in found["models"].values()]
    assert accuracies == pytest.approx([6 / 7, 5 / 7, 6 / 7])  # means .75 .25 .5 .6 .65 .1 .7; .5 is called COVID
    assert found["models"]["m"]["versus_first"] is None
    assert found["models"]["m (2)"]["versus_first"]["mcnemar"]["only_first"] == 2


def test_members_of_predictions_are_compared_with_their_mean():
    present = ["image_id", "prob_covid", "prob_normal", "a_prob_covid", "a_prob_normal", "b_prob_covid"]
    assert members_of(present, ["prob_covid", "prob_normal"]) == {"a": ["a_prob_covid", "a_prob_normal"]}

    models = ComparedModels()
    models.add("mean", FIRST, is_mean=True)
    models.add("a", SECOND)
    assert list(compare_tables(models, PATIENTS, resamples=20, seed=0)["models"]) == ["mean", "a"]


def test_models_of_no_common_image_are_refused():
    models = ComparedModels()
    models.add("a", FIRST.slice(0, 2))
    models.add("b", FIRST.slice(4))
    with pytest.raises(DatasetError, match="no image was scored by each of a, b"):
        compare_tables(models, PATIENTS, resamples=20, seed=0)


def test_a_label_that_no_model_knows_is_refused():
    models = ComparedModels()
    models.add("a", FIRST.set_column(1, "label", pa.array(["TB"] * 8)))
    models.add("b", SECOND)
    with pytest.raises(DatasetError, match="do not know the label 'TB'"):
        compare_tables(models, PATIENTS, resamples=20, seed=0)
