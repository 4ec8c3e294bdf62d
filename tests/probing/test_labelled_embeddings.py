from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.archive.embeddings import read_embeddings
from cxr_ray.errors import DatasetError
from cxr_ray.probing.label_table import LabelTable, read_labels
from cxr_ray.probing.labelled_embeddings import labelled_embeddings


@pytest.fixture
def embeddings(embedded):
    return read_embeddings(embedded.uri)


@pytest.fixture
def table(embedded):
    return read_labels([embedded.dataset_uri])


def changed(table, **columns):
    rows = table.rows
    for name, values in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, pa.string()))
    return replace(table, rows=rows)


def test_each_labelled_image_has_its_vector_class_and_patient(embeddings, table):
    shuffled = replace(table, rows=table.rows.take(pa.array(np.random.default_rng(0).permutation(90))))
    data = labelled_embeddings(embeddings, shuffled, ["d"])
    assert data.labels == ("coarse", "fine", "flat")
    ids, vectors = embeddings.rows["image_id"].to_pylist(), embeddings.vectors
    for image_id, vector, truth in zip(data.image_ids, data.vectors, data.truth, strict=True):
        np.testing.assert_array_equal(vector, vectors[ids.index(image_id)].astype(np.float32))
        assert truth == int(image_id[:2]) % 3
    patients = [image_id[:2] for image_id in data.image_ids]
    pairs = {(patient, group) for patient, group in zip(patients, data.groups.tolist(), strict=True)}
    assert len(pairs) == len({group for _, group in pairs}) == 30
    assert data.is_test.tolist() == [int(patient) >= 24 for patient in patients]
    assert data.notes == ()


def test_copies_join_the_patients_that_they_belong_to(embeddings, table):
    copies = [None] * 90
    copies[0] = copies[3] = "copy"  # of the patients 0 and 1
    data = labelled_embeddings(embeddings, changed(table, duplicate_group=copies), ["d"])
    assert len(set(data.groups[:6].tolist())) == 1
    assert len(set(data.groups.tolist())) == 29


def test_what_is_not_used_is_counted_and_named(embeddings, table):
    ids = table.rows["image_id"].to_pylist()
    ids[0] = "broken.png"
    some = replace(changed(table, image_id=ids, patient_id=[None] * 90), rows=None, unlabelled=4)
    some = replace(some, rows=changed(table, image_id=ids, patient_id=[None] * 90).rows.slice(0, 60))
    assert labelled_embeddings(embeddings, some, ["d"]).notes == (
        "1 labelled images have no embedding, because their row is an error or missing; the first is 'broken.png'",
        "31 embeddings have no label and were not used",
        "4 rows have no label and were not used",
        "59 images have no patient and count as one each, so intervals may be too narrow",
    )


def test_tables_that_do_not_belong_together_are_refused(embeddings, table):
    with pytest.raises(
        DatasetError, match=r"no image that d labels has an embedding: 'x0' is not among them; embed the"
    ):
        labelled_embeddings(embeddings, changed(table, image_id=[f"x{i}" for i in range(90)]), ["d"])
    with pytest.raises(
        DatasetError, match=r"the embeddings are of other files than 90 of the images that d labels, first"
    ):
        labelled_embeddings(embeddings, changed(table, content_sha256=["0" * 64] * 90), ["d"])
    with pytest.raises(DatasetError, match="all images are labelled 'flat'; a classifier needs two classes"):
        labelled_embeddings(embeddings, changed(table, label=["flat"] * 90), ["d"])
    twice = replace(
        embeddings,
        rows=pa.concat_tables([embeddings.rows, embeddings.rows.slice(0, 1)]),
        vectors=np.concatenate([embeddings.vectors, embeddings.vectors[:1]]),
    )
    with pytest.raises(DatasetError, match=r"image_id '00-0\.png' occurs 2 times in the embeddings"):
        labelled_embeddings(twice, LabelTable(rows=table.rows, unlabelled=0), ["d"])
