"""Find the images of an archive and the findings that tables give them, for a dataset of several findings an image."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cxr_ray.archive.job_outputs import list_archive
from cxr_ray.archive.manifest import SIDECAR_SUFFIXES, read_manifest
from cxr_ray.archive.uris import delete_tree, exists, write_bytes
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.finding_rows import LabelledPath, read_findings_of_rows
from cxr_ray.preparation.label_recipe import read_recipe
from cxr_ray.preparation.label_tables import join_tables, read_label_table
from cxr_ray.preparation.layout import LabelledImage
from cxr_ray.preparation.match_images import match_images
from cxr_ray.preparation.splits import assign_splits
from cxr_ray.schema import ABSENT, PRESENT, SPLITS, UNCERTAIN, finding_column

NO_FINDING = "(none)"
"""Stands for a finding of images that have none, when splits are drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFindings:
    """Images with their findings, and everything that did not join."""

    findings: tuple[str, ...]
    """Names of the findings."""
    images: list[LabelledImage]
    """Images that the tables name, sorted by image_id."""
    unjoined: dict[str, list[str]]
    """Names of what did not join, by what it is."""


def find_findings(input_uri: str, labels_uri: Sequence[str], label_recipe: str) -> FoundFindings:
    """Join the images of an archive with tables of findings.

    Args:
        input_uri: folder or prefix of the archive, or a manifest that ends in .parquet.
        labels_uri: the tables.
        label_recipe: name of a recipe, or a TOML file.

    Raises:
        ConfigError: if there is no such recipe, or its file is not understood.
        DatasetError: if a table is not understood, or no row names an image.
        StorageError: if the archive or a table cannot be read.
    """
    recipe = read_recipe(label_recipe)
    joined = join_tables([read_label_table(uri) for uri in labels_uri], recipe)
    if not joined.rows:
        raise DatasetError(
            f"no row with a {recipe.path} has findings; name tables of the same images with --labels-uri"
        )
    findings, rows = read_findings_of_rows(joined.rows, recipe)
    objects = _images_of(input_uri)
    places = match_images([image_id for image_id, _ in objects], rows)
    named = {place for place in places if place is not None}
    if not named:
        first = objects[0][0] if objects else "none"
        raise DatasetError(
            f"none of {len(rows):,} rows names one of {len(objects):,} images of {input_uri}; the first path is {rows[0].path!r},"
            f" and the first image {first}; correct --input-uri or the recipe"
        )
    images = [_image(objects[place], row) for place, row in zip(places, rows, strict=True) if place is not None]
    return FoundFindings(
        findings=findings,
        images=sorted(images, key=lambda image: image.image_id),
        unjoined={
            "rows without an image": [row.path for place, row in zip(places, rows, strict=True) if place is None],
            "images without labels": [image_id for at, (image_id, _) in enumerate(objects) if at not in named],
            "rows without findings in the joined table": joined.without_partner,
            "rows of a joined table without an image": joined.without_image,
        },
    )


def _images_of(input_uri: str) -> list[tuple[str, str]]:
    """`image_id` and URI of each object of an archive that is no table or text by its name."""
    if input_uri.endswith(".parquet"):
        return [(row.image_id, row.uri) for row in read_manifest(input_uri)]
    listed = list_archive(input_uri)
    return [(entry.name, entry.uri) for entry in listed if not entry.name.lower().endswith(SIDECAR_SUFFIXES)]


def _image(entry: tuple[str, str], row: LabelledPath) -> LabelledImage:
    image_id, uri = entry
    return LabelledImage(
        image_id=image_id, uri=uri, label=None, split=row.split, patient_id=row.patient_id, values=row.values
    )


def report_unjoined(unjoined: dict[str, list[str]], uri: str) -> str:
    """Write the names of all that did not join to the CSV file at `uri`, and count them in lines for the terminal.

    A file that an earlier run left is deleted if everything joined.

    Raises:
        StorageError: if the file cannot be written.
    """
    if not any(unjoined.values()):
        if exists(uri):
            delete_tree(uri)
        return "every row of the tables joined an image, and every image a row"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "name"])
    writer.writerows([kind, name] for kind, names in unjoined.items() for name in names)
    write_bytes(uri, text.getvalue().encode())
    lines = [f"{len(names):,} {kind}, the first is {names[0]}" for kind, names in unjoined.items() if names]
    return "\n".join(["not in the dataset:", *lines, f"all are named in {uri}"])


def choose_finding_splits(
    images: Sequence[LabelledImage],
    findings: Sequence[str],
    groups: np.ndarray,
    contents: Sequence[str],
    *,
    fractions: tuple[float, float, float],
    seed: int,
) -> list[str]:
    """Split of each image: that of the tables, else one that is drawn by finding and keeps groups together.

    Where the tables name only train, all splits are drawn; where they name train and test but no val, a val split is drawn
    from train, with the proportion that `fractions` give to both.

    Raises:
        DatasetError: if the tables name a split for some images only.
    """
    kinds = [
        tuple(name for name, value in zip(findings, image.values, strict=True) if value == PRESENT) or (NO_FINDING,)
        for image in images
    ]
    given = [image.split for image in images]
    named = set(given) - {None}
    if named and None in given:
        raise DatasetError(
            f"the tables name no split for {given.count(None):,} of {len(given):,} images, the first is"
            f" {images[given.index(None)].image_id}; name it for all or for none"
        )
    if "val" in named or (named and "train" not in named):
        return [split for split in given if split]
    chosen = [at for at, split in enumerate(given) if split != "test"]
    train, val, test = fractions
    if "test" in named:
        train, val, test = train / (train + val), val / (train + val), 0.0
    drawn = assign_splits(
        [kinds[at] for at in chosen],
        groups[chosen].tolist(),
        [contents[at] for at in chosen],
        fractions=(train, val, test),
        seed=seed,
    )
    splits = ["test"] * len(given)
    for at, split in zip(chosen, drawn, strict=True):
        splits[at] = split
    return splits


def findings_summary(table: pa.Table, findings: Sequence[str]) -> list[str]:
    """Lines for the terminal: numbers of images with each finding by split, and of all absent, uncertain and missing labels."""
    splits = np.array(table["split"].to_pylist())
    lines = [
        f"{'present in':<28}"
        + "".join(f"{split:>8}" for split in SPLITS)
        + f"{'absent':>10}{'uncertain':>10}{'missing':>10}"
    ]
    for finding in findings:
        values = table[finding_column(finding)].to_pylist()
        present = Counter(splits[[value == PRESENT for value in values]].tolist())
        others = (values.count(value) for value in (ABSENT, UNCERTAIN, None))
        lines.append(
            f"{finding:<28}"
            + "".join(f"{present[split]:>8,}" for split in SPLITS)
            + "".join(f"{n:>10,}" for n in others)
        )
    return lines
