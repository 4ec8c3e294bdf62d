import pyarrow as pa
import pytest

from cxr_ray.archive.tables import write_table
from cxr_ray.errors import DatasetError
from cxr_ray.probing.label_table import read_labels
from cxr_ray.schema import DATASET


def written(folder, text, name="labels.csv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder / name)


def columns(table, *names):
    return list(zip(*(table.rows[name].to_pylist() for name in names), strict=True))


def test_a_csv_file_is_read_with_its_blanks_and_other_columns(tmp_path):
    text = "\ufeffpath, uri ,label,subject\na.png,s3://a,viral pneumonia,7.0\nb.png,,,8\n\nc.png,,unknown,\nd.png,,Normal,-\n"
    found = read_labels([written(tmp_path, text)])
    expected = [("a.png", "Viral_Pneumonia", "7", None), ("d.png", "Normal", None, None)]
    assert columns(found, "image_id", "label", "patient_id", "split") == expected
    assert found.unlabelled == 2


def test_a_dataset_keeps_its_labels_and_a_csv_file_adds_to_it(tmp_path):
    rows = [{"image_id": "a", "uri": "a", "label": "no-finding", "patient_id": "1", "split": "train"}]
    write_table(pa.Table.from_pylist(rows, schema=DATASET), str(tmp_path / "d.parquet"))
    more = written(tmp_path, "image_id,label,patient_id\nb,Normal,1\n")
    found = read_labels([str(tmp_path / "d.parquet"), more])
    assert columns(found, "image_id", "label", "patient_id", "split") == [
        ("a", "no-finding", "1", "train"),
        ("b", "Normal", "1", None),
    ]


def test_numbers_in_parquet_are_names(tmp_path):
    table = pa.table({"image_id": ["a", "b"], "label": ["x", "y"], "patient": pa.array([1.0, None])})
    write_table(table, str(tmp_path / "d.parquet"))
    assert columns(read_labels([str(tmp_path / "d.parquet")]), "patient_id") == [("1",), (None,)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,finding\na,b\n", r"labels\.csv has no column label; it has image_id, finding"),
        ("", "has no column image_id and label; it has "),
        ("image_id,path,label\na,a,b\n", "has two columns for image_id, image_id and path; keep one of them"),
        ("image_id,label,label\na,b,c\n", "has two columns for label, label and label"),
        (
            "image_id,label\na,b,c\n",
            r"row 1 of .*labels\.csv has 3 values for 2 columns; quote values that hold commas",
        ),
        ("image_id,label\n,b\n", "has no image_id; fill it in or remove the row"),
        ("image_id,label,split\na,b,dev\n", "a in .* has the split 'dev'; only train, val, test exist"),
        ("image_id,label\na,\n", "no image of .* has a label; fill in the column label"),
        ("image_id,label\na,x\na,y\n", r"a in .*labels\.csv has a second label: x and y; keep one of them"),
        ("image_id,label,patient\na,x,7\na,x,8\n", "has a second patient_id; keep one of them"),
        ('image_id,label\na,"x\n', "is not readable as CSV in UTF-8"),
        (b"image_id,label\na,\xff\n", "is not readable as CSV in UTF-8"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message):
        read_labels([written(tmp_path, text)])


def test_rows_that_agree_are_one(tmp_path):
    first, second = (
        written(tmp_path, "image_id,label\na,x\n"),
        written(tmp_path, "image_id,label,patient\na,x,7\n", "2.csv"),
    )
    assert columns(read_labels([first, second]), "image_id", "label", "patient_id") == [("a", "x", "7")]
