"""Public layouts of findings, each with a table of ten rows, and the splits of a dataset of findings."""

from pathlib import Path

import numpy as np
import pytest

from cxr_ray.archive.uris import exists
from cxr_ray.errors import ConfigError, DatasetError
from cxr_ray.preparation.findings_dataset import (
    choose_finding_splits,
    find_findings,
    findings_summary,
    report_unjoined,
)
from cxr_ray.preparation.layout import LabelledImage
from cxr_ray.preparation.prepare_dataset import GroupedImages, dataset_table

NIH = """\
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],
00000001_000.png,Cardiomegaly,0,1,58,M,PA,2682,2749,0.143,0.143,
00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143,
00000001_002.png,Cardiomegaly|Effusion,2,1,58,M,PA,2500,2048,0.168,0.168,
00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,
00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.143,0.143,
00000003_001.png,Hernia|Pleural_Thickening,1,3,74,F,PA,2500,2048,0.168,0.168,
00000004_000.png,No Finding,0,4,82,M,AP,2500,2048,0.168,0.168,
00000005_000.png,Mass|Nodule,0,5,69,F,PA,2048,2500,0.168,0.168,
00000006_000.png,Infiltration,0,6,81,M,PA,2992,2991,0.143,0.143,
00000007_000.png,No Finding,0,7,82,M,PA,2500,2048,0.168,0.168,
"""
CHEXPERT_HEAD = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
    "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices\n"
)
CHEXPERT_ROWS = [
    "train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
    "train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    "train/patient00002/study1/view1_frontal.jpg,Female,83,Frontal,AP,,,,1.0,,,-1.0,,,,,,1.0,",
    "train/patient00002/study1/view2_lateral.jpg,Female,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,",
    "train/patient00003/study1/view1_frontal.jpg,Male,41,Frontal,AP,,,,,,1.0,,,,0.0,,,,",
    "train/patient00004/study1/view1_frontal.jpg,Female,20,Frontal,PA,1.0,0.0,,,,,0.0,,,,0.0,,,",
    "train/patient00004/study1/view2_lateral.jpg,Female,20,Lateral,,1.0,0.0,,,,,0.0,,,,0.0,,,",
    "train/patient00005/study1/view1_frontal.jpg,Male,33,Frontal,PA,1.0,,0.0,,,,,,,,,,,1.0",
]
CHEXPERT_VALID = [
    "valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
    "valid/patient64542/study1/view1_frontal.jpg,Male,70,Frontal,PA,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0",
]
MIMIC_STUDIES = [
    (10000032, 50414267),
    (10000032, 53189527),
    (10000764, 57375967),
    (10000898, 50771383),
    (10000935, 56164612),
]
MIMIC_VALUES = [
    "1.0,,,,,,,,,,,,,",
    ",,1.0,,,0.0,,,,,-1.0,,,1.0",
    "0.0,-1.0,1.0,,,,,,,,,,,",
    ",,,,,1.0,,,,,,0.0,,",
    ",,,,,,,,,,,,,",
]


def write(folder, **tables):
    for name, text in tables.items():
        (folder / name.replace("__", ".")).write_text(text)
    return tuple(str(folder / name.replace("__", ".")) for name in tables)


def draw(folder, *names):
    for name in names:
        path = Path(folder, "images", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not decoded here")
    return str(folder / "images")


def values_of(found):
    """Values by image and finding, without those that are not known."""
    return {
        image.image_id: {f: v for f, v in zip(found.findings, image.values, strict=True) if v is not None}
        for image in found.images
    }


def test_nih(tmp_path):
    names = [line.partition(",")[0] for line in NIH.splitlines()[1:]]
    uri = draw(
        tmp_path,
        *(f"images_00{1 + at // 5}/images/{name}" for at, name in enumerate(names[:9])),
        "README.pdf",
        "new.png",
    )
    found = find_findings(uri, write(tmp_path, Data_Entry_2017__csv=NIH), "nih")
    assert found.findings == (
        "cardiomegaly", "effusion", "emphysema", "hernia", "infiltration", "mass", "nodule", "pleural_thickening",
    )  # fmt: skip
    present = {name: {f for f, v in of_one.items() if v} for name, of_one in values_of(found).items()}
    assert present["images_001/images/00000001_001.png"] == {"cardiomegaly", "emphysema"}
    assert present["images_001/images/00000002_000.png"] == set()
    assert present["images_002/images/00000003_001.png"] == {"hernia", "pleural_thickening"}
    assert all(None not in image.values for image in found.images)
    assert [image.patient_id for image in found.images] == ["1", "1", "1", "2", "3", "3", "4", "5", "6"]
    assert found.unjoined["rows without an image"] == ["00000007_000.png"]
    assert found.unjoined["images without labels"] == ["new.png"]


@pytest.mark.parametrize("prefix", ["", "CheXpert-v1.0-small/"])
def test_chexpert(tmp_path, prefix):
    rows = [*CHEXPERT_ROWS, *CHEXPERT_VALID]
    uri = draw(tmp_path, *(row.partition(",")[0] for row in rows))
    train, valid = (
        CHEXPERT_HEAD + "".join(f"{prefix or 'data/'}{row}\n" for row in part)
        for part in (CHEXPERT_ROWS, CHEXPERT_VALID)
    )
    found = find_findings(uri, write(tmp_path, train__csv=train, valid__csv=valid), "chexpert")
    assert not any(found.unjoined.values())
    values = values_of(found)
    assert values["train/patient00001/study1/view1_frontal.jpg"] == {"pneumothorax": 0, "support_devices": 1}
    assert values["train/patient00002/study2/view1_frontal.jpg"] == {
        "cardiomegaly": -1, "lung_opacity": 1, "edema": -1, "consolidation": -1, "atelectasis": -1, "pleural_effusion": -1,
        "fracture": 1,
    }  # fmt: skip
    assert len(values["valid/patient64541/study1/view1_frontal.jpg"]) == len(found.findings) == 13
    assert "no_finding" not in found.findings
    of_image = {image.image_id: (image.patient_id, image.split) for image in found.images}
    assert of_image["train/patient00002/study1/view2_lateral.jpg"] == ("patient00002", "train")
    assert of_image["valid/patient64541/study1/view1_frontal.jpg"] == ("patient64541", "val")


def test_mimic(tmp_path):
    head = "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,"
    head += "Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices\n"
    studies = list(zip(MIMIC_STUDIES[:4], MIMIC_VALUES, strict=False))
    labels = (
        head
        + "".join(f"{patient},{study},{values}\n" for (patient, study), values in studies)
        + "99,99,,,,,,,,,,,,,,\n"
    )
    images = [(f"{at:08x}-cafe", *MIMIC_STUDIES[at // 2]) for at in range(10)]
    metadata = "dicom_id,subject_id,study_id,ViewPosition\n" + "".join(f"{d},{p},{s},PA\n" for d, p, s in images)
    words = ["train"] * 6 + ["validate"] * 2 + ["test"] * 2
    splits = "dicom_id,study_id,subject_id,split\n"
    splits += "".join(f"{d},{s},{p},{word}\n" for (d, p, s), word in zip(images, words, strict=True))
    uri = draw(tmp_path, *(f"files/p10/p{p}/s{s}/{d}.jpg" for d, p, s in images))
    tables = write(
        tmp_path, **{"mimic-cxr-2__0__0-chexpert__csv": labels, "metadata__csv": metadata, "mimic-split__csv": splits}
    )
    found = find_findings(uri, tables, "mimic")
    values = values_of(found)
    assert len(values) == 8, "the last study has no labels"
    assert values["files/p10/p10000032/s50414267/00000000-cafe.jpg"] == {"atelectasis": 1}
    assert values["files/p10/p10000032/s53189527/00000003-cafe.jpg"] == {
        "consolidation": 1, "fracture": 0, "pleural_other": -1, "support_devices": 1,
    }  # fmt: skip
    assert {image.split for image in found.images} == {"train", "val"}
    assert found.images[0].patient_id == "10000032"
    assert found.unjoined["rows without findings in the joined table"] == ["00000008-cafe", "00000009-cafe"]
    assert found.unjoined["rows of a joined table without an image"] == ["study_id 99 of mimic-cxr-2.0.0-chexpert.csv"]
    assert len(found.unjoined["images without labels"]) == 2
    with pytest.raises(DatasetError, match="no table has the column 'dicom_id'"):
        find_findings(uri, tables[:1], "mimic")


def test_tables_of_other_images_are_refused(tmp_path):
    uri = draw(tmp_path, "a.png")
    with pytest.raises(
        DatasetError, match=r"none of 10 rows names one of 1 images .* the first path is '00000001_000.png'"
    ):
        find_findings(uri, write(tmp_path, t__csv=NIH), "nih")
    with pytest.raises(ConfigError, match="label_recipe must be one of nih"):
        find_findings(uri, write(tmp_path, t__csv=NIH), "padchest")


def test_all_that_did_not_join_is_named_in_a_file(tmp_path):
    uri = str(tmp_path / "d.unjoined.csv")
    said = report_unjoined({"rows without an image": ["b.png", "c,d.png"], "images without labels": []}, uri)
    assert "2 rows without an image, the first is b.png" in said
    assert Path(uri).read_text() == 'kind,name\nrows without an image,b.png\nrows without an image,"c,d.png"\n'
    assert "every row" in report_unjoined({"rows without an image": []}, uri)
    assert not exists(uri)


def images_with(splits, seed=0):
    rng = np.random.default_rng(seed)
    return [
        LabelledImage(
            image_id=f"{n}", uri=f"{n}", label=None, split=split, values=tuple(map(int, rng.random(2) < (0.1, 0.5)))
        )
        for n, split in enumerate(splits)
    ]


def chosen(images, fractions=(0.7, 0.2, 0.1)):
    groups, contents = np.arange(len(images)) // 2, [f"{n:03}" for n in range(len(images))]
    return choose_finding_splits(images, ("rare", "frequent"), groups, contents, fractions=fractions, seed=1)


def test_drawn_splits_keep_patients_together_and_share_every_finding():
    images = images_with([None] * 400)
    splits = np.array(chosen(images))
    assert (splits[::2] == splits[1::2]).all()
    values = np.array([image.values for image in images])
    for finding in (0, 1):
        has = values[:, finding] == 1
        for split, fraction in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
            assert (splits[has] == split).mean() == pytest.approx(fraction, abs=0.08)


def test_splits_of_the_tables_are_kept_and_a_missing_val_is_drawn_from_train():
    given = ["train", "train", "val", "val", "test", "test"]
    assert chosen(images_with(given)) == given
    assert chosen(images_with(["train"] * 4 + ["val"] * 2)) == ["train"] * 4 + ["val"] * 2
    drawn = chosen(images_with(["train"] * 90 + ["test"] * 10))
    assert drawn[90:] == ["test"] * 10
    assert drawn[:90].count("val") == 20
    assert set(chosen(images_with(["train"] * 100))) == {"train", "val", "test"}
    with pytest.raises(DatasetError, match="the tables name no split for 1 of 3 images, the first is 2"):
        chosen(images_with(["train", "val", None]))


def test_the_table_holds_the_findings_and_the_summary_counts_them():
    images = [
        LabelledImage(image_id=f"{n}", uri=f"{n}", label=None, patient_id=None, values=values)
        for n, values in enumerate([(1, 0), (-1, None), (1, 1)])
    ]
    grouped = GroupedImages(
        images=images, contents=["a", "b", "c"], duplicate_groups=np.arange(3), split_groups=np.arange(3)
    )
    table = dataset_table(grouped, ["train", "train", "test"], ("edema", "mass"))
    assert table["label_edema"].to_pylist() == [1, -1, 1]
    assert table["label_mass"].to_pylist() == [0, None, 1]
    assert table["label"].null_count == 3
    lines = findings_summary(table, ("edema", "mass"))
    assert lines[1].split() == ["edema", "1", "0", "1", "0", "1", "0"]
    assert lines[2].split() == ["mass", "0", "0", "1", "1", "0", "1"]
