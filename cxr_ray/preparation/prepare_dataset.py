"""Make a dataset from a folder of radiographs: labels, patients, masks, duplicates and splits in one table."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cxr_ray.archive.datasets import dataset_fingerprint
from cxr_ray.archive.job_outputs import list_archive
from cxr_ray.archive.listing import ListedObject
from cxr_ray.archive.run_record import write_table_record
from cxr_ray.archive.tables import table_uri, write_table
from cxr_ray.archive.uris import absolute_uri, read_bytes
from cxr_ray.config import PrepareConfig
from cxr_ray.errors import DatasetError
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.preparation.find_metadata import find_metadata, may_be_table
from cxr_ray.preparation.findings_dataset import (
    choose_finding_splits,
    find_findings,
    findings_summary,
    report_unjoined,
)
from cxr_ray.preparation.fingerprint_images import Fingerprints, fingerprint_images
from cxr_ray.preparation.folder_labels import check_labels
from cxr_ray.preparation.groups import equal_pairs, group_by_pairs
from cxr_ray.preparation.layout import LabelledImage, read_layout, without_other_files
from cxr_ray.preparation.metadata import add_metadata
from cxr_ray.preparation.near_duplicates import near_duplicate_groups
from cxr_ray.preparation.splits import assign_splits
from cxr_ray.schema import SPLITS, finding_column, findings_dataset_schema

log = logging.getLogger("cxr_ray")


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupedImages:
    """N readable images with the groups that must stay together."""

    images: list[LabelledImage]
    contents: list[str]
    """SHA-256 of each file, 64 hex digits."""
    duplicate_groups: np.ndarray
    """Group numbers int [N]; copies of one image have the same number."""
    split_groups: np.ndarray
    """Group numbers int [N]; copies of one image, and images of one patient, have the same number."""


def prepare_dataset(config: PrepareConfig) -> pa.Table:
    """Write the dataset table of `config.input_uri` to `config.output_uri`, print a summary, and return the table.

    With `config.labels_uri`, the images of all folders have the findings of these tables, else the class of their folder.

    Raises:
        ConfigError: if there is no such recipe.
        DatasetError: if the layout of the folder or a table is not understood, or none of its images is readable.
        StorageError: if the folder cannot be listed, or the output cannot be written.
    """
    input_uri, target = absolute_uri(config.input_uri), table_uri(config.output_uri, "dataset")
    found = None
    if config.label_recipe is not None:
        found = find_findings(input_uri, config.labels_uri, config.label_recipe)
    images = read_images(input_uri) if found is None else found.images
    limits = DecodeLimits(
        max_megapixels=config.max_megapixels,
        max_bytes=config.max_megabytes * 2**20,
        max_seconds=config.max_decode_seconds,
    )
    prints = fingerprint_images([image.uri for image in images], limits)
    grouped = group_images(*_readable(images, prints), config.near_duplicate_distance)
    findings = () if found is None else found.findings
    table = dataset_table(grouped, choose_splits(grouped, config.split, config.seed, findings), findings)
    write_table(table, target)
    counts = {} if found is None else {"unjoined": {kind: len(names) for kind, names in found.unjoined.items()}}
    fingerprint = dataset_fingerprint(table)
    write_table_record(absolute_uri(target), config, dataset_fingerprint=fingerprint, images=table.num_rows, **counts)
    print(f"{table.num_rows:,} images in {target}")
    print(summary(table, grouped, findings))
    if found is not None:
        print(report_unjoined(found.unjoined, f"{target.removesuffix('.parquet')}.unjoined.csv"))
    return table


def read_images(input_uri: str) -> list[LabelledImage]:
    """Find the images below `input_uri` with their labels, splits, masks and patients.

    Raises:
        DatasetError: if the layout of the folder is unknown, metadata.csv cannot be used, or it is missing and images need it.
        StorageError: if the folder cannot be listed.
    """
    tables: list[ListedObject] = []
    images = read_layout(_noting_tables(without_other_files(list_archive(input_uri)), tables))
    table = find_metadata(tables)
    if table is not None:
        images = add_metadata(images, read_bytes(table.uri))
    check_labels(images)
    return images


def _noting_tables(objects: Iterable[ListedObject], tables: list[ListedObject]) -> Iterator[ListedObject]:
    """Yield all objects, and add those that may be tables to `tables`."""
    for entry in objects:
        if may_be_table(entry.name):
            tables.append(entry)
        yield entry


def _readable(images: list[LabelledImage], prints: Fingerprints) -> tuple[list[LabelledImage], Fingerprints]:
    """Leave out images that cannot be decoded, each with a warning."""
    for position, error in sorted(prints.errors.items()):
        log.warning("%s is left out: %s", images[position].image_id, error)
    kept = [position for position in range(len(images)) if position not in prints.errors]
    if not kept:
        raise DatasetError(
            f"none of the {len(images)} images is readable; fix the files, of which the first is {images[0].uri}: {prints.errors[0]}"
        )
    readable = Fingerprints(contents=[prints.contents[p] for p in kept], hashes=prints.hashes[kept], errors={})
    return [images[p] for p in kept], readable


def group_images(images: list[LabelledImage], prints: Fingerprints, max_distance: int) -> GroupedImages:
    """Group copies (equal content, or perceptual hashes that differ in at most `max_distance` bits) and images of one patient."""
    alike = near_duplicate_groups(prints.hashes, max_distance)
    copies = (equal_pairs(prints.contents), equal_pairs(alike.tolist()))
    patients = equal_pairs([image.patient_id for image in images])
    return GroupedImages(
        images=images,
        contents=prints.contents,
        duplicate_groups=group_by_pairs(len(images), *copies),
        split_groups=group_by_pairs(len(images), *copies, patients),
    )


def choose_splits(
    grouped: GroupedImages, fractions: tuple[float, float, float], seed: int, findings: tuple[str, ...] = ()
) -> list[str]:
    """Split of every image: the one that its folder names, else one drawn by class that keeps groups together.

    Args:
        grouped: the images and their groups.
        fractions: fractions of train, val and test, which sum to 1; ignored if the folders name the splits.
        seed: seed of the drawn split.
        findings: names of the findings of the images, by which their splits are drawn (`choose_finding_splits`); () for classes.

    Raises:
        DatasetError: if the folders name a split for some images only.
    """
    if findings:
        arrays = grouped.split_groups, grouped.contents
        return choose_finding_splits(grouped.images, findings, *arrays, fractions=fractions, seed=seed)
    given = [image.split for image in grouped.images]
    if all(given):
        return [split for split in given if split]
    if any(given):
        raise DatasetError(
            "some folders name a split (train_images, ...) and others do not; name it for all or for none"
        )
    labels = [image.label or "" for image in grouped.images]
    return assign_splits(labels, grouped.split_groups.tolist(), grouped.contents, fractions=fractions, seed=seed)


def dataset_table(grouped: GroupedImages, splits: list[str], findings: tuple[str, ...] = ()) -> pa.Table:
    """Make the dataset table, one row per image, sorted by image_id, with a column of each of `findings`.

    The name of a duplicate group is the start of the smallest content hash in it.
    """
    names: dict[int, str] = {}
    for group, content in sorted(zip(grouped.duplicate_groups.tolist(), grouped.contents, strict=True), reverse=True):
        names[group] = content[:16]
    images = grouped.images
    columns = {
        "image_id": [image.image_id for image in images],
        "uri": [image.uri for image in images],
        "label": [image.label for image in images],
        "patient_id": [image.patient_id for image in images],
        "split": splits,
        "mask_uri": [image.mask_uri for image in images],
        "content_sha256": grouped.contents,
        "duplicate_group": [names[group] for group in grouped.duplicate_groups.tolist()],
    }
    values = {finding_column(name): [image.values[k] for image in images] for k, name in enumerate(findings)}
    return pa.Table.from_pydict(columns | values, schema=findings_dataset_schema(findings))


def summary(table: pa.Table, grouped: GroupedImages, findings: tuple[str, ...] = ()) -> str:
    """Text for the terminal: numbers of images by class (or finding) and split, patients, masks and copies."""
    lines = findings_summary(table, findings) if findings else _class_lines(table)
    splits = table["split"].to_pylist()
    patients = table["patient_id"].drop_null()
    copies = table.num_rows - len(set(grouped.duplicate_groups.tolist()))
    exact = table.num_rows - len(set(grouped.contents))
    masks = table.num_rows - table["mask_uri"].null_count
    lines.append(
        f"{len(patients):,} images name one of {len(set(patients.to_pylist())):,} patients; {masks:,} have a mask"
    )
    lines.append(
        f"{copies:,} images are copies of another image ({exact:,} byte for byte);"
        " a split drawn by this job keeps copies and the images of a patient together"
    )
    divided = _divided_groups(grouped.split_groups, splits)
    if divided:
        lines.append(
            f"warning: {divided:,} groups of copies or of a patient's images are in several of the splits that the folders name"
        )
    return "\n".join(lines)


def _class_lines(table: pa.Table) -> list[str]:
    labels = table["label"].to_pylist()
    counts = Counter(zip(labels, table["split"].to_pylist(), strict=True))
    lines = [f"{'':<18}" + "".join(f"{split:>8}" for split in SPLITS) + f"{'all':>8}"]
    for label in sorted(set(labels), key=str):
        per_split = [counts[label, split] for split in SPLITS]
        lines.append(f"{label or '(no label)':<18}" + "".join(f"{n:>8,}" for n in [*per_split, sum(per_split)]))
    return lines


def _divided_groups(groups: np.ndarray, splits: list[str]) -> int:
    places = set(zip(groups.tolist(), splits, strict=True))
    return sum(1 for n in Counter(group for group, _ in places).values() if n > 1)
