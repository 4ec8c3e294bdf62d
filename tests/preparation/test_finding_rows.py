import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.finding_rows import read_findings_of_rows
from cxr_ray.preparation.label_recipe import LabelRecipe
from cxr_ray.preparation.label_tables import NumberedRow

WIDE = LabelRecipe(path="image", findings=("Edema", "Pleural Effusion"), patient="who", split="split")
LISTED = LabelRecipe(path="image", listed="found")
LONG = LabelRecipe(path="image", listed="found", value="is", separator="")


def read(recipe, *cells):
    return read_findings_of_rows([NumberedRow("t.csv", n, row) for n, row in enumerate(cells, start=2)], recipe)


def wide(edema, effusion, image="a", who="7", split="train"):
    return {"image": image, "Edema": edema, "Pleural Effusion": effusion, "who": who, "split": split}


def test_a_wide_table_says_present_absent_uncertain_or_nothing():
    findings, (a, b) = read(WIDE, wide("1.0", "-1"), wide("0", "", image="b", who="8.0", split="validate"))
    assert findings == ("edema", "pleural_effusion")
    assert (a.values, a.patient_id, a.split, a.where) == ((1, -1), "7", "train", "line 2 of t.csv")
    assert (b.values, b.patient_id, b.split) == ((0, None), "8", "val")


def test_two_equal_rows_of_an_image_are_one_and_others_are_refused():
    assert len(read(WIDE, wide("1", "0"), wide("1.0", "0"))[1]) == 1
    with pytest.raises(DatasetError, match=r"line 2 of t.csv and line 3 of t.csv give one image different findings"):
        read(WIDE, wide("1", "0"), wide("0", "0"))
    with pytest.raises(DatasetError, match="two values of who"):
        read(WIDE, wide("1", "0"), wide("1", "0", who="8"))


def test_what_is_listed_is_present_and_all_else_absent():
    rows = [("a", "Mass|Edema"), ("b", "No Finding"), ("c", ""), ("d", "Edema"), ("d", "Nodule")]
    findings, found = read(LISTED, *({"image": image, "found": names} for image, names in rows))
    assert findings == ("edema", "mass", "nodule")
    assert [one.values for one in found] == [(1, 1, 0), (0, 0, 0), (None, None, None), (1, 0, 1)]


def test_a_long_table_gives_each_finding_a_value():
    rows = [("a", "Mass", "1"), ("a", "Edema", "-1"), ("b", "Mass", "0"), ("b", "Mass", "0.0")]
    findings, found = read(LONG, *({"image": i, "found": f, "is": v} for i, f, v in rows))
    assert findings == ("edema", "mass")
    assert [one.values for one in found] == [(-1, 1), (None, 0)]
    with pytest.raises(DatasetError, match=r"line 2 of t.csv and line 3 of t.csv give Mass different values"):
        read(LONG, *({"image": "a", "found": "Mass", "is": value} for value in "10"))


def test_patients_and_splits_are_read_from_paths():
    recipe = LabelRecipe(
        path="image", findings=("Edema",), patient_pattern=r"(patient\d+)/", split_pattern=r"(?:^|/)(train|valid)/"
    )
    _, (one,) = read(recipe, {"image": "x/valid/patient7/1.jpg", "Edema": "1"})
    assert (one.patient_id, one.split) == ("patient7", "val")
    with pytest.raises(
        DatasetError, match=r"line 2 of t.csv has the path '1.jpg', in which patient_pattern finds no patient"
    ):
        read(recipe, {"image": "1.jpg", "Edema": "1"})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            wide("2", "0"),
            "line 2 of t.csv has the value '2' in Edema; name it in present, absent, uncertain or missing",
        ),
        (wide("1", "0", split="dev"), "names the split 'dev'; name it in splits of the recipe"),
        (wide("1", "0", image=""), "line 2 of t.csv has no image; fill it or remove the line"),
    ],
)
def test_a_value_that_is_not_understood_is_refused(row, message):
    with pytest.raises(DatasetError, match=message):
        read(WIDE, row)


def test_findings_of_one_column_are_refused():
    recipe = LabelRecipe(path="image", findings=("Lung Mass", "lung-mass"))
    with pytest.raises(DatasetError, match="Lung Mass, lung-mass would get the same column"):
        read(recipe, {"image": "a", "Lung Mass": "1", "lung-mass": "0"})


def test_a_listed_finding_that_never_occurs_is_refused():
    recipe = LabelRecipe(path="image", listed="found", findings=("Oedema",))
    with pytest.raises(DatasetError, match="no row lists the finding 'Oedema' of the recipe; the tables list Edema"):
        read(recipe, {"image": "a", "found": "Edema"})
