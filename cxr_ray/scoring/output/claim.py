"""Whose output it is: the identity of the work is kept beside its rows, and says which job may add to them."""

import shlex
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from cxr_ray.archive.tables import column_types, read_schema
from cxr_ray.archive.uris import absolute_uri, exists, join_uri, open_filesystem, read_bytes, write_bytes
from cxr_ray.config import ArchiveJobConfig
from cxr_ray.config.identity import START_OVER, WorkIdentity, held_values
from cxr_ray.errors import ResumeError
from cxr_ray.scoring.output.state import OutputState, committed_files, file_names

SCHEMAS_AT_ONCE = 16
"""Requests in flight while the schemas of committed files are read."""


def identity_of_rows(
    config: ArchiveJobConfig,
    schema: pa.Schema,
    *,
    model_ids: Sequence[str],
    preprocessing_ids: Sequence[str],
    idle: Collection[str] = (),
) -> WorkIdentity:
    """What the rows of a job depend on.

    Args:
        config: whose options count, but for those that change no row.
        schema: of the rows.
        model_ids: of all models; they come in the place of the URIs, for the same weights may lie elsewhere tomorrow.
        preprocessing_ids: of all models.
        idle: options that change nothing for this config.
    """
    return WorkIdentity.of(
        config,
        columns=column_types(schema),
        idle=idle,
        input_uri=absolute_uri(config.input_uri).rstrip("/"),
        exclude=shlex.join(sorted(set(config.exclude))),
        model="+".join(model_ids),
        preprocessing="+".join(preprocessing_ids),
    )


def check_claim(state: OutputState, identity: WorkIdentity) -> None:
    """Check that the output is free or holds rows of the same work, in the same columns; nothing is written.

    The claim of a job that never committed a row binds nobody.

    Raises:
        ResumeError: if it holds rows that this job would make otherwise; the first option in which they differ is named
            with both values, or the column.
        StorageError: if it cannot be read.
    """
    if not exists(state.signature_uri):
        if file_names(state.rows_uri):
            raise ResumeError(f"{state.rows_uri} holds rows of an unknown job; {START_OVER}")
        return
    names = committed_files(state)
    if not names:
        return
    held = held_values(read_bytes(state.signature_uri), state.signature_uri)
    if difference := identity.difference(held):
        raise ResumeError(f"{state.uri} holds rows {difference}; {START_OVER}")
    _check_columns(state, names, identity)


def _check_columns(state: OutputState, names: Sequence[str], identity: WorkIdentity) -> None:
    """Refuse committed files whose columns the next ones would not have: no reader could take them for one table."""
    uris = [join_uri(state.rows_uri, name) for name in names]
    with ThreadPoolExecutor(SCHEMAS_AT_ONCE) as pool:
        for uri, schema in zip(uris, pool.map(read_schema, uris), strict=True):
            if difference := identity.column_difference(column_types(schema)):
                raise ResumeError(f"{uri} holds rows {difference}; {START_OVER}")


def claim_output(state: OutputState, identity: WorkIdentity, *, overwrite: bool, keep: str = "") -> None:
    """Put the identity there, after `check_claim`, or after deleting what stands there but the file at URI `keep`.

    Raises:
        ResumeError: as `check_claim` does.
        StorageError: if it cannot be written.
    """
    if overwrite:
        remove_output(state, keep=keep)
    else:
        check_claim(state, identity)
    write_bytes(state.signature_uri, identity.to_json())


def remove_output(state: OutputState, *, keep: str = "") -> None:
    """Delete what a job wrote into the output, and nothing else; the working file at the URI `keep` stays."""
    fs, folder = open_filesystem(state.file_uri("").rstrip("/"))
    kept = open_filesystem(keep)[1] if keep else ""
    work = [path.rstrip("/") for path in fs.ls(folder, detail=False)] if fs.exists(folder) else []
    others = (open_filesystem(uri)[1] for uri in (state.rows_uri, join_uri(state.uri, "run.json")))
    for path in (*(path for path in work if path != kept), *others):
        if fs.exists(path):
            fs.rm(path, recursive=True)
