import pytest

from cxr_ray.archive.listing import ListedObject
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.layout import LabelledImage, add_metadata, canonical_label, read_layout


def listed(*names: str) -> list[ListedObject]:
    return [ListedObject(name=n, uri=f"s3://b/{n}", size_bytes=1, modified=None, etag=None) for n in names]


def seen(images: list[LabelledImage]) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(i.image_id, i.label, i.split, i.mask_uri) for i in images]


def test_covid19_radiography_database():
    images = read_layout(
        listed(
            "COVID.metadata.xlsx",
            "README.md.txt",
            "Viral Pneumonia/masks/Viral Pneumonia-1.png",
            "Viral Pneumonia/images/Viral Pneumonia-1.png",
            "COVID/images/COVID-1.png",
            "COVID/images/COVID-2.png",
            "COVID/masks/COVID-1.png",
            "COVID/notes.txt",
            "Normal/masks/COVID-2.png",
        )
    )
    assert seen(images) == [
        ("COVID/images/COVID-1.png", "COVID", None, "s3://b/COVID/masks/COVID-1.png"),
        ("COVID/images/COVID-2.png", "COVID", None, None),
        (
            "Viral Pneumonia/images/Viral Pneumonia-1.png",
            "Viral_Pneumonia",
            None,
            "s3://b/Viral Pneumonia/masks/Viral Pneumonia-1.png",
        ),
    ]


def test_medclip_samv2_with_splits():
    images = read_layout(
        listed(
            "COVID/test_images/1.png",
            "COVID/train_images/1.png",
            "COVID/train_masks/1.png",
            "COVID/val_images/1.png",
            "COVID/val_masks/1.jpg",
            "COVID/extra_images/1.png",
        )
    )
    assert seen(images) == [
        ("COVID/test_images/1.png", "COVID", "test", None),
        ("COVID/train_images/1.png", "COVID", "train", "s3://b/COVID/train_masks/1.png"),
        ("COVID/val_images/1.png", "COVID", "val", "s3://b/COVID/val_masks/1.jpg"),
    ]


def test_folders_without_classes():
    assert seen(read_layout(listed("masks/a.png", "images/a.png", "test_images/b.dcm"))) == [
        ("images/a.png", None, None, "s3://b/masks/a.png"),
        ("test_images/b.dcm", None, "test", None),
    ]


@pytest.mark.parametrize(
    ("spelling", "label"),
    [
        ("Viral Pneumonia", "Viral_Pneumonia"),
        ("viral_pneumonia", "Viral_Pneumonia"),
        ("VIRAL-PNEUMONIA", "Viral_Pneumonia"),
        ("  lung   opacity ", "Lung_Opacity"),
        ("covid", "COVID"),
        ("Normal", "Normal"),
        ("Tuberculosis", "Tuberculosis"),
        ("Pleural effusion", "Pleural_effusion"),
    ],
)
def test_spellings_of_a_label_are_one(spelling, label):
    assert canonical_label(spelling) == label


@pytest.mark.parametrize("names", [(), ("a.png",), ("COVID/a.png",), ("x/COVID/images/a.png",), ("COVID/masks/a.png",)])
def test_no_image_is_an_error_that_shows_the_layout(names):
    with pytest.raises(DatasetError, match=r"no image found; expected CLASS/images/\*, "):
        read_layout(listed(*names))


IMAGES = read_layout(listed("COVID/images/1.png", "COVID/images/2.png"))
UNLABELLED = read_layout(listed("images/1.png", "images/2.png"))


def test_metadata_gives_patients():
    table = "\ufeffpath,label,patient_id\r\nCOVID/images/1.png,covid, p1 \r\nelsewhere.png,Normal,p2\r\n"
    assert [i.patient_id for i in add_metadata(IMAGES, table.encode())] == ["p1", None]


def test_metadata_gives_labels_where_no_folder_does():
    table = b"patient_id,path,label,age\np1,images/1.png,viral pneumonia,70\np1,images/2.png,  ,\n"
    labelled = add_metadata(UNLABELLED, table)
    assert [(i.label, i.patient_id) for i in labelled] == [("Viral_Pneumonia", "p1"), (None, "p1")]


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"path,patient_id\n",
        b"path\rCOVID/images/1.png\r",
        b"path\nCOVID/images/1.png",
        b"path\nCOVID/images/1.png,x,y\n",
    ],
    ids=["empty", "header", "old Mac", "no end of line", "ragged"],
)
def test_metadata_that_says_nothing_changes_nothing(table):
    assert add_metadata(IMAGES, table) == IMAGES


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "file,label\na,b\n",
            "metadata.csv has no column 'path'; it has file, label; write path,label,patient_id with commas",
        ),
        (
            "file,label\na,b,c,d\n",
            "metadata.csv has no column 'path'; it has file, label; write path,label,patient_id with commas",
        ),
        (
            "path;label\na;b\n",
            "metadata.csv has no column 'path'; it has path;label; write path,label,patient_id with commas",
        ),
        (
            "path\nelse/where.png\n",
            "metadata.csv names none of the images; its first path is 'else/where.png', which must be relative to the input",
        ),
        (
            "path,label\nCOVID/images/1.png,normal\n",
            "metadata.csv gives COVID/images/1.png the label Normal, and its folder gives COVID; fix one of them",
        ),
    ],
)
def test_bad_metadata_is_named(table, message):
    with pytest.raises(DatasetError) as error:
        add_metadata(IMAGES, table.encode())
    assert str(error.value) == message


@pytest.mark.parametrize("table", ["path,name\nx,José\n".encode("latin-1"), "path\nx\n".encode("utf-16")])
def test_metadata_that_is_no_utf8_is_named(table):
    with pytest.raises(DatasetError, match=r"metadata.csv is not readable as CSV in UTF-8: 'utf-8' codec can't decode"):
        add_metadata(IMAGES, table)
