"""Recipes that say how tables of findings are read: NIH ChestX-ray14, CheXpert, MIMIC-CXR, or a TOML file of one's own."""

import re
import tomllib
from dataclasses import dataclass, field

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cxr_ray.archive.uris import read_bytes
from cxr_ray.errors import ConfigError

CHEXPERT_FINDINGS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
"""Findings of the labeller of CheXpert, which also labelled MIMIC-CXR, in the order of its tables; `No Finding` is none of them."""


def plain_value(value: str) -> str:
    """Write a value so that equal ones are equal: without spaces around it and capitals, and `1` for `1.0`."""
    plain = value.strip().casefold()
    return re.sub(r"^([+-]?\d+)\.0*$", r"\1", plain).removeprefix("+")


@dataclass(frozen=True, kw_only=True)
class LabelRecipe:
    """What the columns of tables of findings mean.

    A table is wide, with a column of each finding (`findings`), or lists the findings of a row in one column (`listed`), alone
    or several with a separator. Columns may lie in several tables.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: str
    """Column that names the image: its path, its file name, or its name without suffix."""
    findings: tuple[str, ...] = ()
    """Wide table: columns of the findings. With `listed`: the findings that are read; () reads all that occur."""
    listed: str = ""
    """Column that lists findings."""
    separator: str = "|"
    """Text between two findings of the column `listed`."""
    none: tuple[str, ...] = ("No Finding",)
    """Words in the column `listed` that say that nothing was found."""
    value: str = ""
    """Long table: column of the value of the finding that `listed` names in the same row; without it, what is listed is present,
    and what is not listed is absent."""
    present: tuple[str, ...] = ("1", "true", "yes", "positive", "present")
    """Values that mean present; numbers are compared as numbers, words without regard to capitals."""
    absent: tuple[str, ...] = ("0", "false", "no", "negative", "absent")
    """Values that mean absent."""
    uncertain: tuple[str, ...] = ("-1", "uncertain", "u")
    """Values that mean uncertain."""
    missing: tuple[str, ...] = ("", "nan", "na", "n/a")
    """Values that mean that nothing is known."""
    patient: str = ""
    """Column of the patient."""
    patient_pattern: str = ""
    """Regular expression whose first group is the patient, where the path names it."""
    split: str = ""
    """Column of the split."""
    split_pattern: str = ""
    """Regular expression whose first group is the split, where the path names it."""
    splits: dict[str, str] = field(default_factory=dict)
    """`train`, `val` or `test` by the words of the table; `valid`, `validate` and `validation` are known without it."""
    join: str = ""
    """Column by which a table without the column `path` is joined, such as that of the study."""

    def __post_init__(self) -> None:
        """Check that the recipe says where findings stand, that no value has two meanings, and that patterns have a group."""
        if not self.findings and not self.listed:
            raise ValueError("findings (columns of a wide table) or listed (a column that lists them) must be given")
        if self.value and not self.listed:
            raise ValueError("value changes nothing without listed; name the column of the findings")
        meanings: dict[str, str] = {}
        for meaning in ("present", "absent", "uncertain", "missing"):
            for word in map(plain_value, getattr(self, meaning)):
                if meanings.setdefault(word, meaning) != meaning:
                    raise ValueError(f"{word!r} is both {meanings[word]} and {meaning}; keep one of them")
        for name in ("patient", "split"):
            pattern = getattr(self, f"{name}_pattern")
            if getattr(self, name) and pattern:
                raise ValueError(f"{name} and {name}_pattern both say where the {name} stands; keep one of them")
            if pattern and re.compile(pattern).groups != 1:
                raise ValueError(f"{name}_pattern {pattern!r} must have one group in parentheses")


BUILT_IN = {
    "nih": LabelRecipe(path="Image Index", listed="Finding Labels", patient="Patient ID"),
    "chexpert": LabelRecipe(
        path="Path",
        findings=CHEXPERT_FINDINGS,
        patient_pattern=r"(?:^|/)(patient\d+)/",
        split_pattern=r"(?:^|/)(train|valid|test)/",
    ),
    "mimic": LabelRecipe(
        path="dicom_id", findings=CHEXPERT_FINDINGS, patient="subject_id", split="split", join="study_id"
    ),
}
"""Recipes of public datasets, by name."""


def read_recipe(name: str) -> LabelRecipe:
    """Return the recipe of a name of `BUILT_IN`, or read it from a TOML file.

    Raises:
        ConfigError: if it is neither, or the file has an unknown key or a value of a wrong type.
        StorageError: if the file cannot be read.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if not name.endswith(".toml"):
        raise ConfigError(
            f"label_recipe must be one of {', '.join(BUILT_IN)}, or a file that ends in .toml; got {name!r}"
        )
    try:
        values = tomllib.loads(read_bytes(name).decode())
        return TypeAdapter(LabelRecipe).validate_python(values)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} is not TOML: {error}; correct it") from error
    except re.error as error:
        raise ConfigError(f"{name} has a pattern that is no regular expression: {error}; correct it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the recipe"
        raise ConfigError(f"{name}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
