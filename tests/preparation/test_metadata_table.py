import csv
import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.metadata_table import parse_metadata


def rows(table):
    return [(row.path, row.label, row.patient_id) for row in parse_metadata(table.encode()).rows]


def refusal(table):
    with pytest.raises(DatasetError) as error:
        parse_metadata(table if isinstance(table, bytes) else table.encode())
    return str(error.value)


@pytest.mark.parametrize(
    "table",
    [
        "path,label,patient_id\na.png,covid,1\n",
        "\ufeffpath, label ,patient_id\r\na.png,  covid, 1 \r\n\r\n,,\r\n",
        "Patient ID,PATH,Label\r1,a.png,COVID\r",
        'path,patient,label\n"a.png", "1","COVID"',
        ",subject_id,path,label,\n0,1.0,a.png,COVID,\n",
        "patientId,path,label,age\n１,a.png,COVID,70\n",
    ],
    ids=["plain", "spaces and BOM", "old Mac", "quotes", "index of pandas", "wide digits"],
)
def test_spellings_of_a_table_are_one(table):
    assert rows(table) == [("a.png", "COVID", "1")]


def test_placeholders_are_no_values(caplog):
    assert rows("path,label,patient_id\na.png,nan,n/a\nb.png,?,\n") == [("a.png", None, None), ("b.png", None, None)]
    assert (
        "2 rows of metadata.csv have a placeholder in label, which is no label, the first is 'nan' in line 2"
        in caplog.text
    )


def test_labels_that_pandas_wrote_as_numbers_with_decimals_are_one():
    assert [label for _, label, _ in rows("path,label\na.png,1\nb.png,1.0\n")] == ["1", "1"]


def test_unused_columns_are_named(caplog):
    caplog.set_level(logging.INFO)
    parse_metadata(b',path,patient_id,Patient Age,note\n0,a.png,1,70,"two\nlines"\n')
    assert "columns of metadata.csv that are not used: (no name), Patient Age, note" in caplog.text
    assert "WARNING" not in caplog.text


def test_a_table_without_patients_and_one_with_splits_are_worth_a_warning(caplog):
    parse_metadata(b"path,label,split\na.png,COVID,train\n")
    assert "metadata.csv has no column patient_id; images of one patient may lie in several splits" in caplog.text
    assert "metadata.csv has a column split, which is not used" in caplog.text


def test_a_second_column_of_patients_is_worth_a_warning(caplog):
    assert rows("path,Patient ID,mrn\na.png,1,2\n") == [("a.png", None, "1")]
    assert "patients are read from the column Patient ID of metadata.csv, and not from mrn" in caplog.text


WRITE = "write path,label,patient_id with commas"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", f"metadata.csv is empty; {WRITE}, or delete it"),
        (" \n", f"metadata.csv has no column 'path'; it has ; {WRITE}"),
        ("path,patient_id\n,\n", "metadata.csv has no rows; fill it or delete it"),
        ("file,label\na,b,c\n", f"metadata.csv has no column 'path'; it has file, label; {WRITE}"),
        ("path;label\na;b\n", f"metadata.csv has no column 'path'; it has path;label; {WRITE}"),
        ("path\tlabel\na\tb\n", f"metadata.csv has no column 'path'; it has path\tlabel; {WRITE}"),
        ("COVID/images/a.png,secret\n", f"metadata.csv has no column 'path'; its first line is a row; {WRITE}"),
        ("path,note\na.png,1\n", f"metadata.csv has neither a column label nor patient_id; it has path, note; {WRITE}"),
        (
            "path,patient,Patient ID\na.png,1,2\n",
            "metadata.csv has two columns for patient_id, patient and Patient ID; keep one of them",
        ),
        ("path,label,Label\na.png,1,2\n", "metadata.csv has two columns for label, label and Label; keep one of them"),
        ("path,label,age,age\na,b,1,2\n", "metadata.csv has two columns age; rename or remove one of them"),
        (
            "path,patient_id\na.png,1\nb.png\n",
            "line 3 of metadata.csv has 1 values for 2 columns; quote values that hold commas",
        ),
        (
            "path,patient_id\na.png,1\n\nb.png,1,\n",
            "line 4 of metadata.csv has 3 values for 2 columns; quote values that hold commas",
        ),
        ("path,patient_id\n,1\n", "line 2 of metadata.csv has no path; fill it or remove the line"),
        (
            'path,patient_id\na.png,1\n"b.png,1\nc.png,1\n',
            "metadata.csv is not readable as CSV in UTF-8: after line 2, a quote is never closed; save it again as CSV in UTF-8",
        ),
        (
            'path,patient_id\n"a.png,1\n"b.png,1\n',
            "metadata.csv is not readable as CSV in UTF-8: after line 1, ',' expected after '\"'; save it again as CSV in UTF-8",
        ),
        (
            'path,patient_id\n"a.png\nb.png",1\n',
            "line 3 of metadata.csv has a line break or an invisible character in path; remove it, or close a quote",
        ),
        (
            "path,patient_id\na.png,1\u200b\n",
            "line 2 of metadata.csv has a line break or an invisible character in patient_id; remove it, or close a quote",
        ),
        (
            "path,patient_id\na.png,'1\n",
            "line 2 of metadata.csv has a quotation mark in patient_id; put double quotes around whole values only",
        ),
    ],
)
def test_what_is_not_understood_is_refused(table, message):
    assert refusal(table) == message


@pytest.mark.parametrize(
    "column", ["Pat-Nr", "PID", "MRN", "patient number", "study_subject", "participant", "Patient Name", "case_id"]
)
def test_a_column_that_looks_like_patients_is_never_ignored(column):
    assert refusal(f"path,label,{column}\na.png,COVID,1\n") == (
        f"metadata.csv has no column patient_id, but {column}; rename it to patient_id if it tells patients apart, else remove it"
    )


@pytest.mark.parametrize("column", ["Patient Age", "patient_sex", "View Position", "pathology", "source"])
def test_a_column_that_describes_patients_is_none_of_them(column):
    assert rows(f"path,label,{column}\na.png,COVID,1\n") == [("a.png", "COVID", None)]


@pytest.mark.parametrize(
    "table",
    [
        "path,name\nx,José\n".encode("latin-1"),
        "path,label\nx,y\n".encode("utf-16"),
        "path,label\nx,y".encode("utf-16-le"),
    ],
)
def test_other_encodings_are_named(table):
    assert refusal(table).startswith("metadata.csv is not readable as CSV in UTF-8: ")
    assert refusal(table).endswith("; save it again as CSV in UTF-8")


def test_a_refusal_quotes_no_patient():
    for damaged in (
        'path,patient_id\na.png,secret\n"b.png,secret',
        "path,patient_id\na.png,secret,\n",
        "a.png,secret\n",
    ):
        assert "secret" not in refusal(damaged)


VALUES = st.text(st.characters(categories=("L", "N", "Zs", "Po"), exclude_characters='"'), max_size=5)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_the_csv_module_writes_is_read(values, line_end, quoted):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerow(["path", "patient_id", "note"])
    writer.writerows([f"{i}.png", f"p{patient}p", note] for i, (patient, note) in enumerate(values))
    table = parse_metadata(text.getvalue().encode())
    assert [row.path for row in table.rows] == [f"{i}.png" for i in range(len(values))]
    assert len({row.patient_id for row in table.rows}) <= len({patient for patient, _ in values})


@given(st.text(st.sampled_from('path,ienl_d\n\r"; 10.\t\0\ufeff')) | st.binary())
def test_any_bytes_are_read_or_refused(table):
    data = table if isinstance(table, bytes) else f"path,patient_id\n{table}".encode()
    try:
        said = str(parse_metadata(data).rows[0].line)
    except DatasetError as error:
        said = str(error)
    assert len(said.splitlines()) == 1
