import csv
from pathlib import Path

import numpy as np
import pytest

from cxr_ray.config.probing import SelectConfig, TrainProbeConfig
from cxr_ray.errors import BundleError, ConfigError, DatasetError
from cxr_ray.models.bundle import read_card
from cxr_ray.probing.label_table import read_labels
from cxr_ray.probing.select_for_labelling import head_of, select_for_labelling
from cxr_ray.probing.train_probe import train_probe


@pytest.fixture(scope="module")
def labelled_uri(tmp_path_factory):
    """Labels of the first twelve patients, two of each class."""
    path = tmp_path_factory.mktemp("labelled") / "labels.csv"
    names = ("coarse", "fine", "flat")
    lines = [f"{patient:02d}-{i}.png,{names[patient % 3]},{patient}" for patient in range(12) for i in range(3)]
    path.write_text("\n".join(["image_id,label,patient_id", *lines]))
    return str(path)


@pytest.fixture(scope="module")
def probe_uri(embedded, labelled_uri, tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("probe"))
    config = TrainProbeConfig(
        embeddings_uri=embedded.uri, dataset_uri=(labelled_uri,), output_uri=uri, folds=2, learning_curve=False
    )
    train_probe(config, lambda line: None)
    return uri


def select(embedded, output, show=lambda line: None, **options):
    config = SelectConfig(embeddings_uri=embedded.uri, output_uri=str(output), **options)
    return select_for_labelling(config, show)


def rows_of(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_unlabelled_images_are_written_without_a_prediction_and_read_back_as_labels(
    embedded, labelled_uri, probe_uri, tmp_path
):
    lines, output = [], tmp_path / "next.csv"
    chosen = select(embedded, output, lines.append, count=10, probe_uri=probe_uri, dataset_uri=(labelled_uri,))
    rows = rows_of(output)
    assert [row["image_id"] for row in rows] == chosen
    assert list(rows[0]) == ["image_id", "uri", "label", "entropy"]
    assert len(set(chosen)) == 10
    assert all(image_id >= "12" and image_id != "broken.png" for image_id in chosen)
    assert lines == [
        f"10 images in {output}, uncertain and diverse by BADGE, of 54 candidates; 54 images have no label, 36 have one"
    ]
    filled = output.read_text().replace("/" + chosen[0] + ",,", "/" + chosen[0] + ",flat,")
    (tmp_path / "filled.csv").write_text(filled)
    found = read_labels([labelled_uri, str(tmp_path / "filled.csv")])
    assert (found.rows.num_rows, found.unlabelled) == (37, 9)


def test_candidates_are_the_most_uncertain_images(embedded, labelled_uri, probe_uri, tmp_path):
    options = {"probe_uri": probe_uri, "dataset_uri": (labelled_uri,), "show_predictions": True}
    select(embedded, tmp_path / "all.csv", count=54, **options)
    select(embedded, tmp_path / "few.csv", count=5, max_candidates=8, **options)
    every, few = rows_of(tmp_path / "all.csv"), rows_of(tmp_path / "few.csv")
    unsure = sorted((float(row["entropy"]) for row in every), reverse=True)
    assert all(float(row["entropy"]) >= unsure[7] - 1e-3 for row in few)
    assert {row["predicted"] for row in every} <= {"coarse", "fine", "flat"}
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in every)


def test_without_a_probe_images_are_chosen_by_their_diversity(embedded, labelled_uri, tmp_path):
    lines = []
    chosen = select(embedded, tmp_path / "a.csv", lines.append, count=9)
    assert "diverse by k-means++ on embeddings, of 90 candidates; 90 images have no label, 0 have one" in lines[0]
    assert {int(image_id[:2]) % 3 for image_id in chosen} == {0, 1, 2}
    assert list(rows_of(tmp_path / "a.csv")[0]) == ["image_id", "uri", "label"]
    some = select(embedded, tmp_path / "b.csv", count=9, dataset_uri=(labelled_uri,), max_candidates=20)
    assert all(image_id >= "12" for image_id in some)


def test_labels_that_were_filled_in_are_not_overwritten(embedded, tmp_path):
    (tmp_path / "a.csv").write_text("image_id,label\n")
    with pytest.raises(ConfigError, match=r"a\.csv exists and may hold labels; name another file"):
        select(embedded, tmp_path / "a.csv")


def test_a_probe_of_another_encoder_and_a_fully_labelled_archive_are_refused(embedded, save_random, tmp_path):
    card = save_random(tmp_path / "other")
    with pytest.raises(BundleError, match=f"is a probe on {card.model_id}, and the embeddings are of test_resnet-"):
        select(embedded, tmp_path / "a.csv", probe_uri=str(tmp_path / "other"))
    with pytest.raises(DatasetError, match=r"every image of .* has a label; embed more images"):
        select(embedded, tmp_path / "a.csv", dataset_uri=(embedded.dataset_uri,))


def test_the_head_of_a_bundle_is_read_without_its_network(probe_uri):
    weights, bias = head_of(probe_uri, read_card(probe_uri))
    assert (weights.shape, bias.shape) == ((3, 96), (3,))
    assert np.isfinite(weights).all()
