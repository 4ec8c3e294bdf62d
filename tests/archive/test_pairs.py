"""Tables of images and captions: both formats, an error that names each fault, and splits that depend on content only."""

import hashlib

import pyarrow as pa
import pytest

from cxr_ray.archive.pairs import PAIRS, pairs_fingerprint, read_pairs, split_by_content
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.errors import DatasetError, StorageError


def csv_at(folder, text):
    write_bytes(join_uri(str(folder), "pairs.csv"), text.encode())
    return join_uri(str(folder), "pairs.csv")


def parquet_at(folder, **columns):
    write_table(pa.table(columns), join_uri(str(folder), "pairs.parquet"))
    return join_uri(str(folder), "pairs.parquet")


def test_a_csv_of_filename_and_caption_with_commas_quotes_and_line_breaks(tmp_path):
    uri = csv_at(
        tmp_path, '\ufefffilename,Caption\r\na b.png,"clear lungs, no\n effusion"\n\nsub/c.png,"so-called ""mass"""\n'
    )
    table = read_pairs(uri)
    assert table.schema == PAIRS
    assert table.to_pylist() == [
        {"image": "a b.png", "uri": f"{tmp_path}/a b.png", "caption": "clear lungs, no effusion", "label": None, "split": None},
        {"image": "sub/c.png", "uri": f"{tmp_path}/sub/c.png", "caption": 'so-called "mass"', "label": None, "split": None},
    ]  # fmt: skip


@pytest.mark.parametrize("root", ["{tmp}", "memory://pairs"])
def test_a_parquet_table_with_labels_and_splits(root, tmp_path):
    folder = root.format(tmp=tmp_path)
    columns = {
        "image": ["a.png", "/data/b.png", "s3://x/c.png"],
        "caption": ["one", "two", "two"],
        "label": pa.array([0, None, 1]),
        "split": pa.array(["train", "val", "test"]).dictionary_encode(),
        "other": [1.0, 2.0, 3.0],
    }
    table = read_pairs(parquet_at(folder, **columns))
    assert table["uri"].to_pylist() == [f"{folder}/a.png", "/data/b.png", "s3://x/c.png"]
    assert table["label"].to_pylist() == ["0", None, "1"]
    assert table["split"].to_pylist() == ["train", "val", "test"]
    assert read_pairs(folder).equals(table), "a folder of Parquet files is a table in that folder"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows; name a table of images and captions"),
        ("image,caption\n", "has no rows"),
        ("image,report\na.png,b\n", r"has no column caption \(or Caption\)"),
        ("file,caption\na.png,b\n", r"has no column image \(or filename\)"),
        ("image,caption\na.png,x\nb.png, \n", "row 2 of .* has no caption; fill it or drop the row"),
        ("image,caption\n,x\n", "row 1 of .* has no image"),
        ("image,caption\na.png,clear, no mass\n", "row 1 of .* has 3 values for 2 columns; quote its commas"),
        ('image,caption\na.png,"x\n', "is not readable as CSV in UTF-8"),
        ("image,image\na.png,x\n", "has two columns with the same name; rename one of image, image"),
        ("image,caption,split\na.png,x,dev\n", r"names the splits \['dev'\]; only train, val, test exist"),
        ("image,caption,split\na.png,x,val\nb.png,x,\n", r"names the splits \['None'\]"),
    ],
)
def test_a_faulty_table_is_refused_in_one_line(text, message, tmp_path):
    with pytest.raises(DatasetError, match=message) as refused:
        read_pairs(csv_at(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_other_bytes_and_other_types_are_refused(tmp_path):
    write_bytes(str(tmp_path / "pairs.csv"), "image,caption\na.png,Größe\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="is not readable as CSV in UTF-8"):
        read_pairs(str(tmp_path / "pairs.csv"))
    with pytest.raises(DatasetError, match=r"column caption of .* holds no text"):
        read_pairs(parquet_at(tmp_path, image=["a"], caption=[["x"]]))
    with pytest.raises(StorageError, match=r"none\.csv"):
        read_pairs(str(tmp_path / "none.csv"))


def test_a_blank_split_column_is_none(tmp_path):
    table = read_pairs(csv_at(tmp_path, "image,caption,split\na.png,x,\nb.png,y,\n"))
    assert table["split"].null_count == 2


def test_the_split_goes_by_content_in_the_share_asked_for():
    contents = [hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(4000)]
    splits = split_by_content(contents, 0.2)
    assert splits.count("val") / 4000 == pytest.approx(0.2, abs=0.02)
    assert split_by_content(contents[::-1], 0.2) == splits[::-1]
    more = split_by_content(contents, 0.3)
    assert all(after == "val" for before, after in zip(splits, more, strict=True) if before == "val")
    assert set(split_by_content(contents, 0.0)) == {"train"}
    assert set(split_by_content(contents, 1.0)) == {"val"}


def test_the_fingerprint_depends_on_every_pair_and_on_no_order(tmp_path):
    text = "image,caption,label,split\na.png,x,p,train\nb.png,y,q,val\n"
    table = read_pairs(csv_at(tmp_path, text))
    found = pairs_fingerprint(table, ["1", "2"])
    assert len(found) == 16
    assert pairs_fingerprint(table.take([1, 0]), ["2", "1"]) == found
    others = [pairs_fingerprint(table, ["1", "3"])]
    for old, new in (("a.png,x", "a.png,z"), ("x,p", "x,r"), ("val", "train")):
        others.append(pairs_fingerprint(read_pairs(csv_at(tmp_path, text.replace(old, new))), ["1", "2"]))
    assert len({found, *others}) == 5
