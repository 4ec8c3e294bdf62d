"""Write the record `run.json` of a job: its config, the versions of its libraries, and its results."""

import dataclasses
import json
import platform
import secrets
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from cxr_ray import __version__
from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.config.redaction import redacted_values

RECORD_NAME = "run.json"
"""Name of the record in the output folder of a job; it also marks the folder as one."""
RECORDED_PACKAGES = ("ray", "torch", "timm", "pyarrow", "pillow", "pydicom")


def new_run_id() -> str:
    """Make an id for one invocation: the UTC time and six random hex digits, so that ids sort by their start."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that can change a result."""
    return {"cxr_ray": __version__, "python": platform.python_version()} | {p: version(p) for p in RECORDED_PACKAGES}


def write_run_record(output_uri: str, config: Any, *, name: str = RECORD_NAME, **facts: Any) -> None:
    """Write the resolved config, the versions and `facts` as JSON to the file `name` in the output folder.

    Passwords and queries in URIs are replaced by `***`.

    Raises:
        StorageError: if the folder cannot be written.
    """
    record = redacted_values({"config": dataclasses.asdict(config), "versions": versions(), **facts})
    write_bytes(join_uri(output_uri, name), json.dumps(record, indent=2, default=str).encode())


def write_table_record(table_uri: str, config: Any, **facts: Any) -> None:
    """Write the record of the job that made the table `x/manifest.parquet` to `x/_manifest.run.json` in its folder.

    The leading underscore keeps readers of Parquet folders from opening it.
    """
    folder, _, name = table_uri.rpartition("/")
    write_run_record(folder, config, name=f"_{name.removesuffix('.parquet')}.run.json", **facts)


def is_run_record(data: bytes) -> bool:
    """Whether `data` is the content of a record that `write_run_record` wrote, of any version of this package."""
    try:
        record = json.loads(data)
        return "config" in record and "cxr_ray" in record["versions"]
    except (ValueError, TypeError, KeyError):
        return False
