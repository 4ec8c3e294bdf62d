import numpy as np

from cxr_ray.auditing.grouped_probe import cross_validated, probeable


def test_a_probe_predicts_only_patients_that_it_has_not_seen():
    """Features that name the patient, and not the class, teach nothing about other patients."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 4)
    truth = (groups % 2).astype(np.int64)
    of_patient = generator.normal(size=(40, 60)).astype(np.float32)[groups]
    predicted = cross_validated(of_patient, truth, groups, folds=5, balanced=False, seed=0)
    assert (predicted == truth).mean() < 0.7, "below one half where folds left out more of a class"

    telling = np.column_stack([of_patient, *[truth] * 20]).astype(np.float32)
    assert (cross_validated(telling, truth, groups, folds=5, balanced=False, seed=0) == truth).mean() > 0.95


def test_classes_of_few_patients_are_not_probed():
    truth = np.array([0] * 6 + [1] * 6 + [3] * 6)
    groups = np.array([*range(6), *[6] * 6, *range(7, 13)])
    assert probeable(truth, groups, 5).tolist() == [0, 3]
