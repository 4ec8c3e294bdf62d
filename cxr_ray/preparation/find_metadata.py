"""Find `metadata.csv` among the files of an archive, and name the tables that are not read."""

import logging
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from cxr_ray.archive.listing import ListedObject
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.metadata_table import METADATA_NAME

log = logging.getLogger("cxr_ray")

_TABLE = re.compile(r".*\.(csv|tsv|xlsx?|ods|parquet)(\.\w+)?", re.IGNORECASE)
_NAMED_ALIKE = re.compile(r"meta[-_ ]?data[-_ ()\d]*(\.\w+)+", re.IGNORECASE)


def may_be_table(name: str) -> bool:
    """Whether a file is a table by its name, which is all that `find_metadata` looks at."""
    return bool(_TABLE.fullmatch(name))


def find_metadata(objects: Iterable[ListedObject]) -> ListedObject | None:
    """Find the table `metadata.csv` at the root of an archive; None if there is none.

    Other tables at the root, and tables of a similar name anywhere, are counted in a warning.

    Raises:
        DatasetError: if there is no `metadata.csv`, but a file that seems to be meant, such as `Metadata.csv`.
    """
    found, alike, tables = None, [], []
    for entry in objects:
        if entry.name == METADATA_NAME:
            found = entry
        elif _TABLE.fullmatch(entry.name) and _NAMED_ALIKE.fullmatch(PurePosixPath(entry.name).name):
            alike.append(entry.name)
        elif "/" not in entry.name and _TABLE.fullmatch(entry.name):
            tables.append(entry.name)
    if alike and found is None:
        raise DatasetError(
            f"{alike[0]} would not be read; save one table as {METADATA_NAME}, in CSV and at the root of the input"
            + (f" (there are {len(alike)} such tables)" if len(alike) > 1 else "")
        )
    if alike or (tables and found is None):
        unread = alike or tables
        log.warning(
            "%d tables are not read, the first is %s; labels and patients are read only from %s at the root of the input",
            len(unread),
            unread[0],
            METADATA_NAME,
        )
    return found
