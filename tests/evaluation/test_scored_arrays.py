import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.evaluation.scored_arrays import PATIENT, Scored, scored_arrays, with_patients
from cxr_ray.evaluation.truth_join import class_names, join_truth


@pytest.fixture
def joined(dataset_table, predictions_table, image_row, prediction_row):
    images = dataset_table(
        [
            image_row("a", "COVID") | {"patient_id": "p1"},
            image_row("b", "Normal") | {"patient_id": "p1"},
            image_row("c", "Normal"),
            image_row("d", "Normal") | {"duplicate_group": "g"},
            image_row("e", "COVID") | {"duplicate_group": "g"},
            image_row("f", "COVID"),
        ]
    )
    predictions = predictions_table(
        [
            prediction_row("a", "COVID", 0.9),
            prediction_row("b", "COVID", 0.6),
            prediction_row("c", "Normal", patient_key="k"),
            prediction_row("d", "Normal"),
            prediction_row("e", "COVID"),
            prediction_row("f", None),
        ]
    )
    names = class_names(predictions, images)
    return names, *with_patients(join_truth(images, predictions, names), images, predictions)


def test_patients_come_from_the_dataset_then_the_header_then_copies(joined):
    _, rows, unknown = joined

    a, b, c, d, e, f = rows[PATIENT].to_pylist()
    assert a == b
    assert d == e
    assert len({a, c, d, f}) == 4
    assert unknown == 3, "d, e and f"


def test_arrays_hold_the_scored_images_only(joined):
    names, rows, _ = joined
    scored = scored_arrays(rows, names)

    assert len(scored) == 5
    assert [scored.labels[k] for k in scored.truth] == ["COVID", "Normal", "Normal", "Normal", "COVID"]
    assert scored.right.tolist() == [True, False, True, True, True]
    assert scored.confidence[:2] == pytest.approx([0.9, 0.6])
    assert len(scored.only(scored.right)) == 4


def test_classes_unknown_to_the_model_are_left_out():
    scored = Scored(
        labels=("a", "x", "b"),
        truth=np.array([0, 1, 2]),
        predicted=np.array([0, 0, 2]),
        probabilities=np.array([[0.9, np.nan, 0.1], [0.6, np.nan, 0.4], [0.2, np.nan, 0.8]]),
        groups=np.arange(3),
    )
    known = scored.of_known_classes()

    assert known.labels == ("a", "b")
    assert (known.truth.tolist(), known.predicted.tolist()) == ([0, 1], [0, 1])
    assert known.probabilities.tolist() == [[0.9, 0.1], [0.2, 0.8]]
    assert scored.confidence.tolist() == [0.9, 0.6, 0.8]


def test_predictions_without_patients_are_of_patients_of_their_own(joined):
    _, rows, _ = joined
    images = pa.table(
        {"image_id": ["a", "b"], "patient_id": pa.nulls(2, pa.string()), "duplicate_group": pa.nulls(2, pa.string())}
    )
    plain = rows.drop_columns([PATIENT]).slice(0, 2)

    numbered, unknown = with_patients(plain, images, images.select(["image_id"]))
    assert (numbered[PATIENT].to_pylist(), unknown) == ([0, 1], 2)
