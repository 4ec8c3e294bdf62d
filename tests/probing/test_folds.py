import numpy as np
import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.probing.folds import grouped_folds, require_folds

GROUPS = np.repeat(np.arange(40), 3)
TRUTH = GROUPS % 3


def test_groups_stay_together_and_classes_are_spread():
    fold = grouped_folds(TRUTH, GROUPS, folds=5, seed=1)
    assert all(len(set(fold[group == GROUPS])) == 1 for group in range(40))
    for number in range(5):
        assert (np.bincount(TRUTH[fold == number], minlength=3) >= 3).all()
    np.testing.assert_array_equal(fold, grouped_folds(TRUTH, GROUPS, folds=5, seed=1))
    assert (fold != grouped_folds(TRUTH, GROUPS, folds=5, seed=2)).any()


def test_a_class_of_few_patients_is_refused():
    labels = ("a", "b", "c")
    require_folds(TRUTH, GROUPS, labels, folds=13)
    with pytest.raises(
        DatasetError, match=r"b has images of 13 patients, and 14 folds need one each; lower --folds to 13"
    ):
        require_folds(TRUTH, GROUPS, labels, folds=14)
    with pytest.raises(
        DatasetError, match=r"c has images of 1 patients, .*; label images of more patients, or leave it out"
    ):
        require_folds(np.where(TRUTH == 2, np.where(GROUPS == 2, 2, 0), TRUTH), GROUPS, labels, folds=5)
