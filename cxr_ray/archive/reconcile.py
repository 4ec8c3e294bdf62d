"""Reconcile a table of rows with the manifest of its images: what is missing, double, an error, or of other work."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.id_accounts import differing_ids, ids_of_other_content
from cxr_ray.archive.same_content import CONTENT, WITH_RESULT
from cxr_ray.archive.tables import column_types, count_rows_of, iter_batches, iter_files, iter_schemas, read_schema
from cxr_ray.archive.uris import exists, join_uri, write_bytes
from cxr_ray.config import ReconcileConfig
from cxr_ray.errors import LossError

NAMED = 10
"""Number of ids of each kind of difference that are named."""
COUNTED = {"status": "statuses", "error_kind": "errors", "run_id": "runs"}
"""Columns whose values are counted, with the field of the account that counts them."""
MADE_WITH = ("model_id", "preprocessing_id")
"""Columns that say with what a row was made; rows of one job agree in them."""


@dataclass
class Ids:
    """Images of one kind: how many there are, and the names of the first `NAMED` that were met."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, ids: pa.Array) -> None:
        """Count more images."""
        self.count += len(ids)
        self.first += ids[: NAMED - len(self.first)].to_pylist()


@dataclass(kw_only=True)
class Account:
    """What a table of rows holds, set against the manifest of its images."""

    images: int
    """Images of the manifest."""
    rows: int = 0
    """Rows of the table."""
    missing: Ids = field(default_factory=Ids)
    """Images of the manifest that have no row."""
    double: Ids = field(default_factory=Ids)
    """Images that have several rows."""
    foreign: Ids = field(default_factory=Ids)
    """Images that have rows and are not in the manifest."""
    named_twice: Ids = field(default_factory=Ids)
    """Images that the manifest names several times."""
    other_content: Ids = field(default_factory=Ids)
    """Images whose row is of another file than the manifest names; empty if one of the tables does not know the content."""
    statuses: dict[str, int] = field(default_factory=dict)
    """Rows by status."""
    errors: dict[str, int] = field(default_factory=dict)
    """Rows by kind of error."""
    runs: dict[str, int] = field(default_factory=dict)
    """Rows by `run_id`: runs of one job, of which each continued the one before."""
    made_with: dict[str, int] = field(default_factory=dict)
    """Rows by model and preprocessing."""
    other_columns: list[str] = field(default_factory=list)
    """Files whose columns differ from those of the first file."""

    @property
    def has_loss(self) -> bool:
        """Whether an image has no row, several or one of another file, or rows of different work stand side by side."""
        differs = len(self.made_with) > 1 or self.other_columns or self.other_content.count
        return bool(self.missing.count or self.double.count or self.named_twice.count or differs)


def reconcile_archive(config: ReconcileConfig) -> Account:
    """Print what a table of rows holds of the images of a manifest, and write it as JSON if the config names a file.

    Raises:
        LossError: if an image has no row, several or one of another file, or rows of different work stand side by side.
        StorageError: if a table is missing or unreadable, or lacks a column.
    """
    account = reconcile(config.manifest_uri, rows_uri_of(config.predictions_uri))
    print("\n".join(described(account)))
    if config.output_uri:
        write_bytes(config.output_uri, json.dumps(dataclasses.asdict(account), indent=2).encode())
    if account.has_loss:
        raise LossError(f"{config.predictions_uri} does not hold one row of one kind for each image; see above")
    return account


def rows_uri_of(uri: str) -> str:
    """URI of the rows below the output folder of a job, or `uri` itself if it is a table."""
    inner = (join_uri(uri, name) for name in ("predictions", "embeddings", "masks", "scores"))
    return uri if uri.endswith(".parquet") else next(filter(exists, inner), uri)


def reconcile(manifest_uri: str, rows_uri: str) -> Account:
    """Set the rows of a table against the images of a manifest.

    Raises:
        StorageError: if a table is missing or unreadable, or lacks a column.
    """
    account = Account(images=count_rows_of(manifest_uri))
    named = (batch["image_id"] for batch in iter_batches(manifest_uri, ["image_id"]))
    for batch in differing_ids(named, _counted(rows_uri, account), expected=account.images):
        ids, named_times, found = batch["image_id"], batch["named"].to_numpy(), batch["found"].to_numpy()
        account.missing.add(ids.filter(pa.array(found == 0)))
        account.double.add(ids.filter(pa.array(found > 1)))
        account.foreign.add(ids.filter(pa.array(named_times == 0)))
        account.named_twice.add(ids.filter(pa.array(named_times > 1)))
    account.other_columns = _files_of_other_columns(rows_uri)
    if all(CONTENT in read_schema(uri).names for uri in (manifest_uri, rows_uri)):
        for ids in ids_of_other_content(_contents(manifest_uri), _contents(rows_uri), expected=account.images):
            account.other_content.add(ids)
    return account


def _contents(uri: str) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Yield ids and content of the rows of a table; rows with a status need one that says that there is a result."""
    status = [name for name in ("status",) if name in read_schema(uri).names]
    for batch in iter_batches(uri, ["image_id", CONTENT, *status]):
        has_result = batch.filter(pc.is_in(batch["status"], value_set=pa.array(WITH_RESULT))) if status else batch
        yield has_result["image_id"], has_result[CONTENT]


def _counted(rows_uri: str, account: Account) -> Iterator[pa.Array]:
    """Yield the ids of all rows, and count the rows by what they say of themselves."""
    present = [name for name in (*COUNTED, *MADE_WITH) if name in read_schema(rows_uri).names]
    for table in iter_files(rows_uri, ["image_id", *present]):
        account.rows += table.num_rows
        for name, counts in COUNTED.items():
            if name in present:
                _add(getattr(account, counts), table.group_by(name).aggregate([([], "count_all")]))
        made_with = [name for name in MADE_WITH if name in present]
        if made_with:
            _add(account.made_with, table.group_by(made_with).aggregate([([], "count_all")]))
        yield from table["image_id"].chunks


def _add(counts: dict[str, int], groups: pa.Table) -> None:
    """Add the sizes of groups to `counts`, each under the values of its group; a group without values is left out."""
    for row in groups.to_pylist():
        number = row.pop("count_all")
        if key := ", ".join(str(value) for value in row.values() if value is not None):
            counts[key] = counts.get(key, 0) + number


def _files_of_other_columns(rows_uri: str) -> list[str]:
    """Names of the files whose columns differ from those of the first file, which no reader reads as one table."""
    schemas = list(iter_schemas(rows_uri))
    wanted = column_types(schemas[0][1])
    return [path.rpartition("/")[2] for path, schema in schemas if column_types(schema) != wanted]


def described(account: Account) -> list[str]:
    """Say in lines what an account holds; the first line is the verdict."""
    verdict = "LOSS" if account.has_loss else "complete"
    lines = [f"{verdict}: {account.images:,} images in the manifest, {account.rows:,} rows"]
    for text, ids in (
        ("images have no row", account.missing),
        ("images have several rows", account.double),
        ("images have rows and are not in the manifest", account.foreign),
        ("images are named several times by the manifest", account.named_twice),
        (f"images have rows of other files, because {CONTENT} differs", account.other_content),
    ):
        lines.append(f"{ids.count:>12,} {text}" + (f": {', '.join(ids.first)}" if ids.first else ""))
        if ids.count > len(ids.first):
            lines[-1] += ", ..."
    for title, counts in (
        ("status", account.statuses),
        ("error_kind", account.errors),
        ("run_id", account.runs),
        ("model_id, preprocessing_id", account.made_with),
    ):
        lines += [f"{count:>12,} rows of {title} {key}" for key, count in sorted(counts.items())]
    lines += [f"{name} has other columns than the first file" for name in account.other_columns]
    return lines
