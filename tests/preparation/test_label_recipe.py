import pytest
from pydantic import ValidationError

from cxr_ray.errors import ConfigError
from cxr_ray.preparation.label_recipe import BUILT_IN, LabelRecipe, plain_value, read_recipe


@pytest.mark.parametrize(
    ("value", "plain"), [("1.0", "1"), (" -1.0 ", "-1"), ("+1", "1"), ("0.5", "0.5"), ("Yes", "yes")]
)
def test_equal_values_are_written_alike(value, plain):
    assert plain_value(value) == plain


def test_a_file_is_read(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('path = "file"\nfindings = ["Edema"]\nuncertain = ["?"]\nsplits = { development = "val" }\n')
    recipe = read_recipe(str(path))
    assert (recipe.findings, recipe.uncertain, recipe.splits) == (("Edema",), ("?",), {"development": "val"})
    assert recipe.present == BUILT_IN["chexpert"].present


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path = "a"', r"findings \(columns of a wide table\) or listed"),
        ('path = "a"\nlabels = ["b"]', "labels: "),
        ('findings = ["b"]', "path: "),
        ('path = "a"\nfindings = ["b"]\nabsent = ["-1", "0"]', "'-1' is both absent and uncertain; keep one of them"),
        ('path = "a"\nfindings = ["b"]\nvalue = "c"', "value changes nothing without listed"),
        ('path = "a"\nfindings = ["b"]\npatient = "p"\npatient_pattern = "(p.)"', "both say where the patient stands"),
        ('path = "a"\nfindings = ["b"]\nsplit_pattern = "train"', "must have one group in parentheses"),
        ('path = "a"\nfindings = ["b"]\nsplit_pattern = "("', "no regular expression"),
        ("path = ", "is not TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, text, message):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        read_recipe(str(tmp_path / "own.toml"))
    assert "own.toml" in str(raised.value)


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match=r"one of nih, chexpert, mimic, or a file that ends in .toml; got 'padchest'"):
        read_recipe("padchest")


def test_a_recipe_says_where_findings_stand():
    with pytest.raises((ValueError, ValidationError), match="must be given"):
        LabelRecipe(path="a")
