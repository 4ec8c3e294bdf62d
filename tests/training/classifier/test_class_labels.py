import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.archive.datasets import class_labels
from cxr_ray.errors import DatasetError
from cxr_ray.training.classifier.one_class import targets_of


def table(*labels):
    return pa.table({"label": pa.array(labels, pa.string())})


def test_labels_are_alphabetical_and_each_once():
    assert class_labels(table("Normal", "COVID", "Normal", "Lung_Opacity")) == ("COVID", "Lung_Opacity", "Normal")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", None, "b", None), "2 images have no label; a classifier needs one for each"),
        (("a", "a"), "all images are labelled 'a'; a classifier needs two classes or more"),
    ],
)
def test_labels_that_nothing_can_be_learned_from(labels, message):
    with pytest.raises(DatasetError, match=message):
        class_labels(table(*labels))


def test_targets_are_positions_among_the_labels():
    found = targets_of(table("c", "a", "c", "b"), ("a", "b", "c"))
    assert found.dtype == np.int64
    assert found.tolist() == [2, 0, 2, 1]
    assert targets_of(table(), ("a", "b")).shape == (0,)
