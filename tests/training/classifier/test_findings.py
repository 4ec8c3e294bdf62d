import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.errors import ConfigError, DatasetError
from cxr_ray.schema import findings_dataset_schema
from cxr_ray.training.classifier.findings import FindingsObjective

EDEMA, MASS = [1, 0, -1, None, 1, 0], [0, 0, 0, 1, None, -1]


def table(edema=EDEMA, mass=MASS):
    rows = {"label_edema": edema, "label_mass": mass}
    filler = {name: [str(n) for n in range(len(edema))] for name in ("image_id", "uri")}
    schema = findings_dataset_schema(("edema", "mass"))
    return pa.table([(filler | rows).get(name, [None] * len(edema)) for name in schema.names], schema=schema)


def objective(**options):
    return FindingsObjective(
        TrainClassifierConfig(dataset_uri="d", output_uri="o", task="multilabel", **options), table()
    )


@pytest.mark.parametrize(
    ("uncertain", "target"), [("ignore", np.nan), ("positive", 1), ("negative", 0), ("smoothed", 0.7)]
)
def test_uncertain_labels_are_learned_as_the_option_says_and_never_judged_by(uncertain, target):
    chosen = objective(uncertain=uncertain)
    learned, judged = (chosen.targets(table(), split) for split in ("train", "val"))
    nan = np.nan
    np.testing.assert_allclose(learned, np.array([[1, 0], [0, 0], [target, 0], [nan, 1], [1, nan], [0, target]]))
    np.testing.assert_array_equal(
        judged, np.array([[1, 0], [0, 0], [nan, 0], [nan, 1], [1, nan], [0, nan]], np.float32)
    )
    assert learned.dtype == np.float32


def test_findings_are_chosen_by_any_spelling():
    assert objective().labels == ("edema", "mass")
    assert objective(findings=("Mass",)).labels == ("mass",)
    with pytest.raises(ConfigError, match="findings must be among edema, mass; got 'nodule'"):
        objective(findings=("Nodule",))
    with pytest.raises(ConfigError, match="label_weights must be among edema, mass; got 'nodule'"):
        objective(label_weights=("nodule=2",))


def test_weights_of_findings_and_the_balance_of_each():
    targets = objective().targets(table(), "train")
    assert objective().loss_weights(targets).tolist() == [[1, 1], [1, 1]]
    assert objective(label_weights=("Edema=2.5",)).loss_weights(targets).tolist() == [[2.5, 1], [2.5, 1]]
    balanced = objective(class_balance="loss").loss_weights(targets).numpy()
    np.testing.assert_allclose(balanced, [[1, 2 / 3], [1, 2]], rtol=1e-6)
    assert objective().draw_weights(targets) is None


def test_a_finding_without_certain_images_of_both_kinds_is_refused():
    objective().check({"train": table(), "val": table()})
    with pytest.raises(
        DatasetError, match="mass is present in no val image; leave it out with --findings edema, or prepare"
    ):
        objective().check({"train": table(), "val": table(mass=[0, 0, -1, None, 0, 0])})
    with pytest.raises(DatasetError, match="edema is absent in no train image"):
        objective().check({"train": table(edema=[1, 1, -1, None, 1, 1]), "val": table()})
