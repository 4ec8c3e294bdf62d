"""Whose output it is: a signature beside the rows says which job may add to them."""

import json
from dataclasses import asdict, dataclass

from cxr_ray.archive.uris import exists, join_uri, open_filesystem, read_bytes, write_bytes
from cxr_ray.errors import ResumeError
from cxr_ray.scoring.output.state import OutputState, committed_files, file_names


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSignature:
    """What must be equal for a run to continue an output."""

    input_uri: str
    model: str
    preprocessing: str
    precision: str
    """As it was asked for."""
    exclude: str
    """Patterns of names that are left out, as on a command line; empty for none."""


def check_claim(state: OutputState, signature: JobSignature) -> None:
    """Check that the output is free or holds work of the same job; nothing is written.

    The claim of a job that never committed a row binds nobody.

    Raises:
        ResumeError: if it holds rows of another archive, model, preprocessing or setting; both are named.
        StorageError: if it cannot be read.
    """
    if not exists(state.signature_uri):
        if file_names(state.rows_uri):
            raise ResumeError(
                f"{state.rows_uri} holds rows of an unknown job; choose another --output-uri, "
                "or --overwrite to start over"
            )
        return
    if not committed_files(state):
        return
    stored = _read_signature(state)
    for name, value in asdict(signature).items():
        if getattr(stored, name) != value:
            raise ResumeError(
                f"{state.uri} holds rows of {name} {getattr(stored, name) or 'none'}, this command has {name} "
                f"{value or 'none'}; choose another --output-uri, or --overwrite to start over"
            )


def claim_output(state: OutputState, signature: JobSignature, *, overwrite: bool, keep: str = "") -> None:
    """Put the signature there, after `check_claim`, or after deleting what stands there but the file at URI `keep`.

    Raises:
        ResumeError: as `check_claim` does.
        StorageError: if it cannot be written.
    """
    if overwrite:
        remove_output(state, keep=keep)
    else:
        check_claim(state, signature)
    write_bytes(state.signature_uri, json.dumps(asdict(signature), indent=2).encode())


def _read_signature(state: OutputState) -> JobSignature:
    try:
        return JobSignature(**json.loads(read_bytes(state.signature_uri)))
    except (ValueError, TypeError) as error:
        raise ResumeError(
            f"{state.signature_uri} is damaged or of another version; choose another --output-uri, "
            "or --overwrite to start over"
        ) from error


def remove_output(state: OutputState, *, keep: str = "") -> None:
    """Delete what a job wrote into the output, and nothing else; the working file at the URI `keep` stays."""
    fs, folder = open_filesystem(state.file_uri("").rstrip("/"))
    kept = open_filesystem(keep)[1] if keep else ""
    work = [path.rstrip("/") for path in fs.ls(folder, detail=False)] if fs.exists(folder) else []
    others = (open_filesystem(uri)[1] for uri in (state.rows_uri, join_uri(state.uri, "run.json")))
    for path in (*(path for path in work if path != kept), *others):
        if fs.exists(path):
            fs.rm(path, recursive=True)
