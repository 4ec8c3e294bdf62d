import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.label_recipe import LabelRecipe
from cxr_ray.preparation.label_tables import join_tables, read_label_table

WIDE = LabelRecipe(path="image", findings=("Edema",), patient="patient", join="study")


@pytest.fixture
def table(tmp_path):
    def read(name, text):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return read_label_table(str(path))

    return read


def rows_of(joined):
    return [row.cells for row in joined.rows]


def test_csv_gzip_and_parquet_are_read_as_text(table, tmp_path):
    text = "image, Edema ,\na.png,1.0,\n\nb.png, ,\n"
    expected = [{"image": "a.png", "Edema": "1.0", "": ""}, {"image": "b.png", "Edema": "", "": ""}]
    for name in ("t.csv", "t.csv.gz"):
        found = table(name, text)
        assert found.columns == ("image", "Edema")
        assert [row.cells for row in found.rows] == expected
        assert found.rows[1].where == f"line 4 of {name}"
    pq.write_table(pa.table({"image": ["a.png", "b.png"], "Edema": [1.0, None]}), tmp_path / "t.parquet")
    found = read_label_table(str(tmp_path / "t.parquet"))
    assert [row.cells for row in found.rows] == [{"image": "a.png", "Edema": "1.0"}, {"image": "b.png", "Edema": ""}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,Edema\na.png\n", "line 2 of t.csv has 1 values for 2 columns"),
        ("image,image\na.png,1\n", "no line of different column names"),
        ("image,Edema\n", "t.csv has no rows"),
        ('image,Edema\n"a.png,1\n', "not readable as CSV in UTF-8"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(table, text, message):
    with pytest.raises(DatasetError, match=message):
        table("t.csv", text)


def test_tables_with_the_same_columns_are_put_below_each_other(table):
    joined = join_tables(
        [table("train.csv", "image,Edema,patient\na,1,p\n"), table("valid.csv", "image,Edema,patient\nb,0,q\n")], WIDE
    )
    assert [row.where for row in joined.rows] == ["line 2 of train.csv", "line 2 of valid.csv"]
    assert (joined.without_partner, joined.without_image) == ([], [])


def test_tables_are_joined_by_path_and_by_study_and_what_does_not_join_is_named(table):
    labels = table("labels.csv", "study,Edema,patient\n1,1,p\n2,0,q\n9,0,r\n")
    images = table("images.csv", "image,study,view\na,1,PA\nb,1.0,LL\nc,2,PA\nd,3,PA\n")
    splits = table("splits.csv", "image,split\na,train\nc,val\n")
    for tables in ([labels, images, splits], [images, splits, labels]):
        joined = join_tables(tables, WIDE)
        found = [(row["image"], row["Edema"], row["patient"], row["split"], row["view"]) for row in rows_of(joined)]
        assert found == [("a", "1", "p", "train", "PA"), ("b", "1", "p", "", "LL"), ("c", "0", "q", "val", "PA")]
        assert joined.without_partner == ["d"]
        assert joined.without_image == ["study 9 of labels.csv"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("study,Edema,patient\n1,1,p\n1,0,p\n", "line 2 of l.csv and line 3 of l.csv are two rows of one study"),
        ("visit,Edema,patient\n1,1,p\n", "l.csv has neither the column 'image' nor one to join it by"),
        ("study,Oedema,patient\n1,1,p\n", "no table has the column Edema of the recipe"),
    ],
)
def test_tables_that_cannot_be_joined_are_refused(table, second, message):
    with pytest.raises(DatasetError, match=message):
        join_tables([table("i.csv", "image,study\na,1\n"), table("l.csv", second)], WIDE)


def test_no_table_of_images_is_refused_with_the_columns_that_there_are(table):
    with pytest.raises(
        DatasetError, match=r"no table has the column 'image', which names the image; l.csv has study, Edema"
    ):
        join_tables([table("l.csv", "study,Edema\n1,1\n")], WIDE)
