import re

import pytest

from cxr_ray.archive.listing import ListedObject
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.find_metadata import find_metadata


def found(*names):
    objects = [ListedObject(name=n, uri=n, size_bytes=1, modified=None, etag=None) for n in names]
    entry = find_metadata(objects)
    return entry and entry.name


def test_the_table_at_the_root_is_found(caplog):
    assert found("COVID/images/1.png", "metadata.csv", "sources.csv") == "metadata.csv"
    assert found("COVID/images/1.png", "README.txt", "COVID/list.csv", "metadata.json", "COVID/metadata.xml") is None
    assert caplog.text == ""


@pytest.mark.parametrize(
    "name",
    [
        "Metadata.csv",
        "metadata.CSV",
        "metadata.tsv",
        "metadata.csv.gz",
        "metadata (1).csv",
        "meta_data.xlsx",
        "COVID/metadata.csv",
    ],
)
def test_a_table_that_seems_to_be_meant_is_refused(name):
    message = f"{name} would not be read; save one table as metadata.csv, in CSV and at the root of the input"
    with pytest.raises(DatasetError, match=re.escape(message)):
        found("COVID/images/1.png", name)


def test_further_tables_are_counted(caplog):
    assert found("metadata.csv", "metadata.xlsx", "COVID/metadata.csv") == "metadata.csv"
    assert (
        "2 tables are not read, the first is metadata.xlsx; labels and patients are read only from metadata.csv"
        in caplog.text
    )


def test_tables_of_other_names_are_counted_where_there_is_no_other(caplog):
    assert found("COVID.metadata.xlsx", "Data_Entry_2017.csv", "COVID/images/1.png") is None
    assert "2 tables are not read, the first is COVID.metadata.xlsx" in caplog.text
