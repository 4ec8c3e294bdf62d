from cxr_ray.probing.probe_lines import summary_lines


def results(**changed):
    judged = {
        "images": 1200, "patients": 800, "accuracy": 0.9, "accuracy_interval": [0.88, 0.92], "balanced_accuracy": 0.89,
        "macro_f1": 0.895, "macro_auroc": 0.98, "folds": 5,
        "per_class": {"a": {"recall": 0.91}, "b": {"recall": None}},
    }  # fmt: skip
    points = [{"images": n, "accuracy": 1 - n**-0.5} for n in (100, 200, 400)]
    given = {"labels": ["a", "b"], "features": 1280, "encoder": "e-1", "cross_validation": judged, "test": None}
    return given | {"nearest_neighbours": judged | {"neighbours": 5}, "learning_curve": points} | changed


def test_the_summary_names_every_figure():
    assert summary_lines(results(test=results()["cross_validation"] | {"macro_auroc": None})) == [
        "learned from 1,200 images of 800 patients, 2 classes, 1,280 features of e-1",
        "cross-validation in 5 folds: accuracy 0.900 (0.880 to 0.920), balanced 0.890, macro F1 0.895, AUROC 0.980",
        "recall: a 0.91, b none",
        "test split, 1,200 images: accuracy 0.900 (0.880 to 0.920), balanced 0.890, macro F1 0.895",
        "nearest neighbours (5), for comparison: accuracy 0.900",
        "accuracy by labels: 100 0.900, 200 0.929, 400 0.950",
        "expected if this goes on: 0.965 with twice as many labels, 0.975 with four times as many",
    ]


def test_a_single_point_is_no_curve():
    lines = summary_lines(results(learning_curve=results()["learning_curve"][:1]))
    assert not [line for line in lines if "by labels" in line or "expected" in line]
