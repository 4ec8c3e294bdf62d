import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.patient_ids import is_placeholder, patient_ids, without_zero_decimals


def ids(*values):
    return patient_ids(values, range(2, len(values) + 2))


def test_a_whole_number_with_decimals_is_the_number(caplog):
    assert ids("1", "1.0", "1.00", "1.", "-2.0", "1.5", "A.0") == ["1", "1", "1", "1", "-2", "1.5", "A.0"]
    assert caplog.text == ""


def test_leading_zeros_tell_patients_apart_with_a_warning(caplog):
    assert ids("001", "1", "p1", "P-1", "1,000", "1000") == ["001", "1", "p1", "P-1", "1,000", "1000"]
    assert (
        "3 patient ids of metadata.csv differ from another only in capitals, punctuation or leading zeros"
        in caplog.text
    )
    assert "the first in lines 2 and 3" in caplog.text


def test_zeros_that_pandas_has_taken_from_all_others_do_not_count():
    assert ids("001", "1.0", "2.0", "000", "") == ["1", "1", "2", "0", None]
    assert ids("001", "002") == ["001", "002"]
    assert ids("001", "1.0", "p1") == ["001", "1", "p1"]


PLACEHOLDERS = [
    "unknown",
    "Unknown",
    "n/a",
    "N.A.",
    "none",
    "nan",
    "NaN",
    "NULL",
    "-",
    "--",
    "?",
    "#N/A",
    "<NA>",
    "not known",
]


@pytest.mark.parametrize("value", ["", " ", *PLACEHOLDERS])
def test_a_placeholder_is_no_patient(value):
    assert is_placeholder(value)
    assert ids("1", value) == ["1", None]


@pytest.mark.parametrize("value", ["0", "-1", "Nanette", "A", "x1", "N-17", "患者1"])
def test_other_words_are_patients(value):
    assert ids(value) == [value]


def test_placeholders_are_counted(caplog):
    ids("1", "unknown", "", "?")
    assert "2 rows of metadata.csv have a placeholder in patient_id" in caplog.text
    assert "the first is 'unknown' in line 3" in caplog.text


def test_a_rounded_id_is_refused_without_quoting_it():
    with pytest.raises(
        DatasetError, match=r"line 3 of metadata.csv has a patient_id that was rounded to the form"
    ) as error:
        ids("1", "4.56789E+11")
    assert "4.56789" not in str(error.value)
    assert ids("12E4", "3e10") == ["12E4", "3e10"]


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_a_column_with_gaps_names_the_patients_of_the_column_without(numbers):
    assert ids(*map(str, numbers)) == ids(*(f"{number}.0" for number in numbers))
    assert [without_zero_decimals(f"{number}.0") for number in numbers] == list(map(str, numbers))
