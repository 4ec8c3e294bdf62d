"""Check which job may add rows to an output: the identity of the work is stored in the output with its rows."""

import shlex
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from cxr_ray.archive.tables import SHARD_PREFIX, column_types, read_schema
from cxr_ray.archive.uris import absolute_uri, exists, join_uri, open_filesystem, read_bytes, write_bytes
from cxr_ray.config import ArchiveJobConfig
from cxr_ray.config.identity import START_OVER, WorkIdentity, held_values
from cxr_ray.errors import ResumeError
from cxr_ray.scoring.output.state import OutputState, committed_files, file_names
from cxr_ray.scoring.patient_secret import patient_secret

SCHEMAS_AT_ONCE = 16
"""Number of committed files whose schemas are read at the same time."""


def identity_of_rows(
    config: ArchiveJobConfig,
    schema: pa.Schema,
    *,
    model_ids: Sequence[str],
    preprocessing_ids: Sequence[str],
    idle: Collection[str] = (),
) -> WorkIdentity:
    """Build the identity of a job's rows: every value that their content depends on.

    Args:
        config: the config of the job; an option is part of the identity unless it changes no row.
        schema: Arrow schema of the rows.
        model_ids: ids of all models; they replace the models' URIs, because the same weights may be moved.
        preprocessing_ids: ids of the preprocessing of all models.
        idle: names of options that change nothing for this config.

    Raises:
        ConfigError: if there is no secret that keys patient ids.
    """
    return WorkIdentity.of(
        config,
        columns=column_types(schema),
        idle=idle,
        input_uri=absolute_uri(config.input_uri).rstrip("/"),
        exclude=shlex.join(sorted(set(config.exclude))),
        model="+".join(model_ids),
        preprocessing="+".join(preprocessing_ids),
        patient_secret=patient_secret().fingerprint,
    )


def check_claim(state: OutputState, identity: WorkIdentity) -> None:
    """Check that an output is empty or holds rows of the same work in the same columns; nothing is written.

    The identity of a job that committed no row is ignored, so any job may use its output.

    Raises:
        ResumeError: if the output holds rows of other work; the message names the first option that differs, with both
            values, or the first column that differs.
        StorageError: if the output cannot be read.
    """
    _check_shards(state)
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


def _check_shards(state: OutputState) -> None:
    """Refuse a table of all images beside shards, and shards of different numbers: images would have several rows."""
    table_uri = OutputState(state.uri, state.table).rows_uri
    shards = [name for name in file_names(table_uri, ending="") if name.startswith(SHARD_PREFIX)]
    numbers = {name.rpartition("-of-")[2] for name in shards} | ({""} if file_names(table_uri) else set())
    if others := numbers - {state.shard.partition("/")[2] if state.shard else ""}:
        held = " and ".join(f"shards of {number}" if number else "rows without --shard" for number in sorted(others))
        raise ResumeError(f"{table_uri} holds {held}; use the same number of shards, or choose another --output-uri")


def _check_columns(state: OutputState, names: Sequence[str], identity: WorkIdentity) -> None:
    """Refuse committed files whose columns differ from those of new files: no reader could read both as one table."""
    uris = [join_uri(state.rows_uri, name) for name in names]
    with ThreadPoolExecutor(SCHEMAS_AT_ONCE) as pool:
        for uri, schema in zip(uris, pool.map(read_schema, uris), strict=True):
            if difference := identity.column_difference(column_types(schema)):
                raise ResumeError(f"{uri} holds rows {difference}; {START_OVER}")


def claim_output(state: OutputState, identity: WorkIdentity, *, overwrite: bool, keep: str = "") -> None:
    """Write the identity of the work into an output, so that only the same work can add rows to it.

    Args:
        state: the output.
        identity: the identity of the work.
        overwrite: True deletes the rows of earlier jobs first, whatever work they are of; False refuses other work.
        keep: URI of a working file that `overwrite` does not delete; none if empty.

    Raises:
        ResumeError: if `overwrite` is False and the output holds rows of other work.
        StorageError: if the output cannot be read or written.
    """
    if overwrite:
        if state.shard:  # without a shard, the rows of all shards are deleted
            _check_shards(state)
        remove_output(state, keep=keep)
    else:
        check_claim(state, identity)
    write_bytes(state.signature_uri, identity.to_json())


def remove_output(state: OutputState, *, keep: str = "") -> None:
    """Delete the files that a job wrote into an output, except the working file at the URI `keep`, and no others."""
    fs, folder = open_filesystem(state.file_uri("").rstrip("/"))
    kept = open_filesystem(keep)[1] if keep else ""
    work = [path.rstrip("/") for path in fs.ls(folder, detail=False)] if fs.exists(folder) else []
    others = (open_filesystem(uri)[1] for uri in (state.rows_uri, state.record_uri))
    for path in (*(path for path in work if path != kept), *others):
        if fs.exists(path):
            fs.rm(path, recursive=True)
