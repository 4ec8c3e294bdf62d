import hashlib

import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.archive.uris import write_bytes
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.fingerprint_images import ROW, Fingerprints, collect
from cxr_ray.preparation.layout import LabelledImage
from cxr_ray.preparation.prepare_dataset import choose_splits, dataset_table, group_images, read_images, summary
from cxr_ray.schema import DATASET


def fingerprint(content, *, flipped=0):
    """Content hash and perceptual hash of an image, of which `flipped` bits are inverted."""
    bits = np.random.default_rng(len(content) + sum(content.encode())).integers(0, 2, 256).astype(bool)
    bits[:flipped] ^= True
    return hashlib.sha256(f"{content}{flipped}".encode()).hexdigest(), np.packbits(bits).view(np.uint64)


def group(images, prints, max_distance):
    contents, hashes = zip(*prints, strict=True)
    return group_images(images, Fingerprints(contents=list(contents), hashes=np.stack(hashes), errors={}), max_distance)


def image(name, label="Normal", **known):
    return LabelledImage(image_id=name, uri=f"s3://x/{name}", label=label, **known)


@pytest.fixture
def grouped():
    """Six images: a, its byte-for-byte copy b and its near copy c; p and q of one patient; x alone in its group."""
    images = [
        image("a"),
        image("b", mask_uri="s3://m/b"),
        image("c"),
        image("p", "COVID", patient_id="7"),
        image("q", "COVID", patient_id="7"),
        image("x", None),
    ]
    prints = [fingerprint("a"), fingerprint("a"), fingerprint("a", flipped=4), *map(fingerprint, ("pp", "qqq", "xxxx"))]
    return group(images, prints, max_distance=8)


def joined(groups):
    """Sets of positions that have the same group number."""
    return {frozenset(np.flatnonzero(groups == g).tolist()) for g in set(groups.tolist())}


def test_copies_share_a_group_and_patients_may_not_be_parted(grouped):
    assert joined(grouped.duplicate_groups) == {frozenset({0, 1, 2}), frozenset({3}), frozenset({4}), frozenset({5})}
    assert joined(grouped.split_groups) == {frozenset({0, 1, 2}), frozenset({3, 4}), frozenset({5})}


def test_near_copies_are_those_within_the_distance():
    images, prints = [image("a"), image("b")], [fingerprint("a"), fingerprint("a", flipped=5)]
    assert len(joined(group(images, prints, 5).duplicate_groups)) == 1
    assert len(joined(group(images, prints, 4).duplicate_groups)) == 2


def test_a_copy_joins_what_patients_join():
    """Images a and b are of one patient, b and c are copies, c and d are of another patient."""
    images = [
        image("a", patient_id="1"),
        image("b", patient_id="1"),
        image("c", patient_id="2"),
        image("d", patient_id="2"),
    ]
    prints = [fingerprint("a"), fingerprint("bb"), fingerprint("bb"), fingerprint("dddd")]
    assert joined(group(images, prints, 0).split_groups) == {frozenset({0, 1, 2, 3})}


def test_splits_keep_groups_whole_and_do_not_depend_on_order():
    images = [image(f"{i:03}", "COVID" if i % 3 else "Normal", patient_id=str(i // 4)) for i in range(120)]
    prints = [fingerprint("f" * (i + 1)) for i in range(120)]
    fractions = (0.7, 0.2, 0.1)
    grouped = group(images, prints, 0)
    splits = choose_splits(grouped, fractions, seed=1)
    by_patient = {}
    for one, split in zip(images, splits, strict=True):
        by_patient.setdefault(one.patient_id, set()).add(split)
    assert all(len(found) == 1 for found in by_patient.values())
    assert set(splits) == {"train", "val", "test"}
    assert splits.count("train") == pytest.approx(84, abs=6)
    backwards = choose_splits(group(images[::-1], prints[::-1], 0), fractions, seed=1)
    assert backwards[::-1] == splits
    assert choose_splits(grouped, fractions, seed=2) != splits


def test_splits_that_folders_name_are_taken():
    images = [image("a", split="train"), image("b", split="test")]
    prints = [fingerprint("a"), fingerprint("bb")]
    assert choose_splits(group(images, prints, 0), (0.7, 0.2, 0.1), seed=0) == ["train", "test"]


def test_splits_that_only_some_folders_name_are_refused():
    grouped = group([image("a", split="train"), image("b")], [fingerprint("a"), fingerprint("bb")], 0)
    with pytest.raises(DatasetError, match=r"some folders name a split .* name it for all or for none"):
        choose_splits(grouped, (0.7, 0.2, 0.1), seed=0)


def test_the_table_has_a_row_for_each_image_and_a_name_for_each_group_of_copies(grouped):
    table = dataset_table(grouped, ["train"] * 3 + ["val"] * 2 + ["test"])
    assert table.schema.equals(DATASET)
    rows = table.to_pylist()
    assert [row["image_id"] for row in rows] == ["a", "b", "c", "p", "q", "x"]
    assert [row["patient_id"] for row in rows] == [None, None, None, "7", "7", None]
    assert [row["mask_uri"] for row in rows] == [None, "s3://m/b", None, None, None, None]
    assert [row["content_sha256"] for row in rows] == grouped.contents
    assert {row["duplicate_group"] for row in rows[:3]} == {min(grouped.contents[:3])[:16]}
    assert len({row["duplicate_group"] for row in rows}) == 4


def test_names_of_groups_do_not_depend_on_order(grouped):
    prints = [fingerprint("a"), fingerprint("a"), fingerprint("a", flipped=4)]
    backwards = group(grouped.images[2::-1], prints[::-1], 8)
    (name,) = set(dataset_table(backwards, ["train"] * 3)["duplicate_group"].to_pylist())
    assert name == min(grouped.contents[:3])[:16]


def test_summary(grouped):
    splits = ["train"] * 3 + ["val"] * 2 + ["test"]
    text = summary(dataset_table(grouped, splits), grouped)
    assert [line.split() for line in text.splitlines()[:4]] == [
        ["train", "val", "test", "all"],
        ["COVID", "0", "2", "0", "2"],
        ["(no", "label)", "0", "0", "1", "1"],
        ["Normal", "3", "0", "0", "3"],
    ]
    assert "2 images name one of 1 patients; 1 have a mask" in text
    assert "2 images are copies of another image (1 byte for byte); a split drawn by this job keeps copies and" in text
    assert "warning" not in text


def test_summary_warns_of_folders_that_part_a_group(grouped):
    splits = ["train", "test", "train", "val", "test", "test"]
    assert "warning: 2 groups of copies or of a patient's images are in several of the splits" in summary(
        dataset_table(grouped, splits), grouped
    )


def test_outputs_of_jobs_in_the_folder_are_no_images_and_no_masks(tmp_path):
    names = (
        "images/a.png",
        "masks/a.png",
        "out/_state/x",
        "out/overlays/images/b.png",
        "out/dicom_seg/masks/a.png",
        "_state/x",
        "masks/a.parquet",
    )
    for name in names:
        write_bytes(f"{tmp_path}/{name}", b"x")
    (found,) = read_images(str(tmp_path))
    assert (found.image_id, found.mask_uri) == ("images/a.png", f"{tmp_path}/masks/a.png")


def row(position, **known):
    return dict.fromkeys(ROW.names) | {"position": position} | known


def test_fingerprints_come_in_any_order_and_keep_their_image():
    table = pa.Table.from_pylist(
        [
            row(2, content_sha256="c", phash=bytes(31) + b"\1"),
            row(0, content_sha256="a", error_kind="truncated", error="ends early"),
            row(1, error_kind="not_found", error="no object"),
        ],
        schema=ROW,
    )
    prints = collect([table.slice(1), table.slice(0, 1)], 3)
    assert prints.contents == ["a", "", "c"]
    assert prints.hashes.view(np.uint8)[:, -1].tolist() == [0, 0, 1]
    assert prints.errors == {0: "truncated: ends early", 1: "not_found: no object"}


@pytest.mark.parametrize("positions", [[0], [0, 1, 1]])
def test_a_missing_or_repeated_fingerprint_is_noticed(positions):
    table = pa.Table.from_pylist([row(p, content_sha256="a", phash=bytes(32)) for p in positions], schema=ROW)
    with pytest.raises(RuntimeError, match="1 of 2 images have no fingerprint or several"):
        collect([table], 2)
