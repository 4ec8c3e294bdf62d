"""Join embeddings with labels, and group the images that belong to one patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import class_labels, refuse_duplicates
from cxr_ray.archive.embeddings import Embeddings
from cxr_ray.archive.same_content import CONTENT, refuse_other_content
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.groups import equal_pairs, group_by_pairs
from cxr_ray.probing.label_table import LabelTable

NAMES_OF_PATIENTS = ("patient_id", "patient_key", "duplicate_group", CONTENT)
"""Columns whose equal values say that images belong together: of one patient, near copies, or equal files."""


@dataclass(frozen=True, kw_only=True)
class LabelledEmbeddings:
    """Images with a label and an embedding.

    Attributes:
        image_ids: names of the N images.
        vectors: float32 [N, D].
        truth: int64 [N], the class of each image as an index into `labels`.
        labels: the K classes in alphabetical order.
        groups: int64 [N]; images of one patient, copies of each other included, have the same number.
        is_test: bool [N], true for images of the test split, from which nothing may be learned.
        notes: lines that say what was not used.
    """

    image_ids: list[str]
    vectors: np.ndarray
    truth: np.ndarray
    labels: tuple[str, ...]
    groups: np.ndarray
    is_test: np.ndarray
    notes: tuple[str, ...]

    def part(self, chosen: np.ndarray) -> "LabelledEmbeddings":
        """The images where `chosen`, bool [N], is true."""
        ids = [image_id for image_id, is_chosen in zip(self.image_ids, chosen, strict=True) if is_chosen]
        return LabelledEmbeddings(
            image_ids=ids,
            vectors=self.vectors[chosen],
            truth=self.truth[chosen],
            labels=self.labels,
            groups=self.groups[chosen],
            is_test=self.is_test[chosen],
            notes=self.notes,
        )


def labelled_embeddings(embeddings: Embeddings, table: LabelTable, uris: Sequence[str]) -> LabelledEmbeddings:
    """Join the embeddings of images with their labels by `image_id`.

    Args:
        embeddings: embeddings of an archive.
        table: labels of some of its images.
        uris: URIs of the tables of labels, for messages.

    Raises:
        DatasetError: if an image has two embeddings, is another file than the labelled one, or nothing can be learned.
    """
    fix = "embed again into an empty output, or read the labels again"
    refuse_duplicates(embeddings.rows, "the embeddings", fix)
    refusal = f"the embeddings are of other files than {{}} of the images that {', '.join(uris)} labels"
    refuse_other_content(table.rows, embeddings.rows, refusal=refusal, fix=fix)
    places = pc.index_in(table.rows["image_id"], value_set=embeddings.rows["image_id"].combine_chunks())
    found = table.rows.filter(pc.is_valid(places)).append_column("place", places.filter(pc.is_valid(places)))
    if not found.num_rows:
        raise DatasetError(
            f"no image that {', '.join(uris)} labels has an embedding: {table.rows['image_id'][0].as_py()!r} is not among them; "
            "embed the archive from which the labels come"
        )
    labels = class_labels(found)
    at = found["place"].to_numpy()
    embedded = embeddings.rows.take(pa.array(at))
    return LabelledEmbeddings(
        image_ids=found["image_id"].to_pylist(),
        vectors=embeddings.vectors[at].astype(np.float32),
        truth=pc.index_in(found["label"], value_set=pa.array(labels)).to_numpy().astype(np.int64),
        labels=labels,
        groups=_groups(found, embedded),
        is_test=np.array([split == "test" for split in found["split"].to_pylist()]),
        notes=tuple(_notes(embeddings, table, found, embedded, places)),
    )


def _groups(found: pa.Table, embedded: pa.Table) -> np.ndarray:
    """Group numbers of images that one of `NAMES_OF_PATIENTS` connects in either table."""
    columns = [
        rows[name].to_pylist() for rows in (found, embedded) for name in NAMES_OF_PATIENTS if name in rows.column_names
    ]
    return group_by_pairs(found.num_rows, *map(equal_pairs, columns))


def _notes(
    embeddings: Embeddings, table: LabelTable, found: pa.Table, embedded: pa.Table, places: pa.ChunkedArray
) -> list[str]:
    notes = []
    if lost := table.rows.filter(pc.is_null(places)):
        first = lost["image_id"][0].as_py()
        notes.append(
            f"{lost.num_rows:,} labelled images have no embedding, because their row is an error or missing; the first is {first!r}"
        )
    if unlabelled := len(embeddings.vectors) - found.num_rows:
        notes.append(f"{unlabelled:,} embeddings have no label and were not used")
    if table.unlabelled:
        notes.append(f"{table.unlabelled:,} rows have no label and were not used")
    known = [
        rows[name].is_valid()
        for rows, name in ((found, "patient_id"), (embedded, "patient_key"))
        if name in rows.column_names
    ]
    alone = found.num_rows - int(np.logical_or.reduce([column.to_numpy() for column in known]).sum())
    if alone:
        notes.append(f"{alone:,} images have no patient and count as one each, so intervals may be too narrow")
    return notes
