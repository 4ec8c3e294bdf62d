import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.archive.listing import ListedObject
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.layout import read_layout
from cxr_ray.preparation.metadata import add_metadata
from cxr_ray.preparation.prepare_dataset import read_images


def layout(*names):
    return read_layout(ListedObject(name=n, uri=f"s3://b/{n}", size_bytes=1, modified=None, etag=None) for n in names)


IMAGES = layout("COVID/images/1.png", "COVID/images/2.png")
UNLABELLED = layout("images/1.png", "images/2.png")


def patients(table, images=IMAGES):
    return [image.patient_id for image in add_metadata(images, table.encode())]


def refusal(table, images=IMAGES):
    with pytest.raises(DatasetError) as error:
        add_metadata(images, table.encode())
    return str(error.value)


def test_metadata_gives_patients(caplog):
    table = "\ufeffpath,label,patient_id\r\nCOVID/images/1.png,covid, p1 \r\nCOVID/images/2.png,,p2\r\n"
    assert patients(table) == ["p1", "p2"]
    assert caplog.text == ""


def test_metadata_gives_labels_where_no_folder_does():
    table = b"patient_id,path,label,age\np1,images/1.png,viral pneumonia,70\np1,images/2.png,  ,\n"
    labelled = add_metadata(UNLABELLED, table)
    assert [(i.label, i.patient_id) for i in labelled] == [("Viral_Pneumonia", "p1"), (None, "p1")]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "path,patient_id\nelse/where.png,1\n",
            "metadata.csv names none of the images; its first path is 'else/where.png', which must be relative to the input",
        ),
        (
            "path,label\nCOVID/images/1.png,normal\n",
            "metadata.csv gives COVID/images/1.png the label Normal, and its folder gives COVID; fix one of them",
        ),
        (
            "path,patient_id\nCOVID/images/1.png,1\nCOVID/images/2.png,1\n1.png,2\n",
            "metadata.csv gives COVID/images/1.png two values of patient_id, in lines 2 and 4; keep one",
        ),
        (
            "path,label\nCOVID/images/1.png,covid\nCOVID/images/1.png,Normal\n",
            "metadata.csv gives COVID/images/1.png two values of label, in lines 2 and 3; keep one",
        ),
        (
            "path,patient_id\nCOVID/images/1.png,1\nCOVID/images/2.jpg,1\n",
            (
                "metadata.csv names patients of 1 files that are none of the images, the first in line 3 is 'COVID/images/2.jpg',"
                " and 1 images have no row, the first is COVID/images/2.png; correct the paths, or add a row for each image"
                " (patient_id may be blank)"
            ),
        ),
    ],
)
def test_contradictions_and_lost_patients_are_refused(table, message):
    assert refusal(table) == message


def test_labels_under_another_name_are_refused_where_they_are_needed():
    assert refusal("path,Finding Labels,patient_id\nimages/1.png,COVID,1\n", UNLABELLED) == (
        "metadata.csv has no column label, but Finding Labels; rename it to label if it holds the classes, else remove it"
    )
    assert patients("path,diagnosis,patient_id\n1.png,pneumonia,1\n2.png,none,1\n") == ["1", "1"]


def test_rows_without_an_image_are_counted(caplog):
    assert patients("path,patient_id\n1.png,1\nCOVID/images/2.png,1\nx.png,2\ny.png,3\n") == ["1", "1"]
    assert (
        "2 rows of metadata.csv name none of the images and are not used, the first in line 4 is 'x.png'" in caplog.text
    )


def test_images_without_a_row_or_a_patient_are_counted(caplog):
    assert patients("path,patient_id\nCOVID/images/1.png,1\n") == ["1", None]
    assert "1 of 2 images have no row in metadata.csv, the first is COVID/images/2.png" in caplog.text
    caplog.clear()
    assert patients("path,patient_id\nCOVID/images/1.png,1\nCOVID/images/2.png,\n") == ["1", None]
    assert "1 of 2 images have no patient in metadata.csv, the first is COVID/images/2.png" in caplog.text


def test_rows_that_agree_are_one(caplog):
    table = "path,patient_id\nCOVID/images/1.png,1\nCOVID/images/2.png,1\nCOVID\\images\\1.png,1.0\n"
    assert patients(table) == ["1", "1"]
    assert (
        "1 images have several rows in metadata.csv, which are read as one where they agree, the first is"
        in caplog.text
    )


FOUR = ("COVID/images/a.png", "COVID/images/b.png", "Normal/images/c.png", "Normal/images/d.png")


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize(
    "table",
    [
        "path, patient_id\n{0}, 1\n{1}, 1\n{2}, 1\n{3}, 1\n",
        "path,patient\n{0},1\n{1},1\n{2},1\n{3},1\n",
        "path,patient_id\n{0},1\n{root}/{1},1\nfile://{root}/{2},1\nd.png,1\n",
        "path,patient_id\n{0},1.0\n./{1} ,1\n{2},1.0\n{3},1\n",
    ],
)
def test_a_folder_with_a_table_of_one_patient_has_one(table, tmp_path, caplog):
    write(tmp_path, *FOUR)
    (tmp_path / "metadata.csv").write_text(table.format(*FOUR, root=tmp_path))
    assert [image.patient_id for image in read_images(str(tmp_path))] == ["1"] * 4
    assert caplog.text == ""


def test_folders_of_the_nih_need_labels(tmp_path):
    write(tmp_path, "images_001/images/00000001_000.png", "images_002/images/00000002_000.png", "Data_Entry_2017.csv")
    with pytest.raises(
        DatasetError, match=r"2 of 2 images have no label, .* such as images_001, holds no class; give path,"
    ):
        read_images(str(tmp_path))
    (tmp_path / "metadata.csv").write_text(
        "path,label,patient_id\n00000001_000.png,Normal,1\n00000002_000.png,COVID,2\n"
    )
    assert [(image.label, image.patient_id) for image in read_images(str(tmp_path))] == [
        ("Normal", "1"),
        ("COVID", "2"),
    ]


SPELLINGS = [
    lambda path: path,
    lambda path: f" {path} ",
    lambda path: path.replace("/", "\\"),
    lambda path: f"./{path}",
    lambda path: f"s3://b/{path}",
    lambda path: path.rpartition("/")[2],
    lambda path: f'"{path}"',
]


@given(
    st.lists(st.sampled_from(SPELLINGS), min_size=4, max_size=4),
    st.permutations(range(4)),
    st.sampled_from(["\n", "\r\n\r\n"]),
)
def test_patients_are_kept_however_paths_are_spelled(spellings, order, line_end):
    lines = ["Path , Patient ID", *(f"{spellings[i](FOUR[i])}, {i // 2}" for i in order)]
    assert patients(line_end.join(lines), layout(*FOUR)) == ["0", "0", "1", "1"]


class Counted(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@given(st.integers(0, 140), st.sampled_from(['"', '""', ",", "\n", "\r", " "]))
def test_a_damaged_table_is_read_whole_or_refused_or_named(position, damage):
    table = "path,patient_id,note\n" + "".join(f"{name},71,a\n" for name in FOUR)
    handler = Counted()
    logging.getLogger("cxr_ray").addHandler(handler)
    try:
        found = set(patients(table[:position] + damage + table[position:], layout(*FOUR)))
    except DatasetError:
        found = {"71"}
    finally:
        logging.getLogger("cxr_ray").removeHandler(handler)
    assert found == {"71"} or handler.lines
