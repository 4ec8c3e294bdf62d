"""`run.json`: what ran, on what, with which outcome."""

import dataclasses
import json
import platform
import secrets
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from cxr_ray import __version__
from cxr_ray.archive.uris import join_uri, write_bytes

RECORDED_PACKAGES = ("ray", "torch", "timm", "pyarrow", "pillow", "pydicom")


def new_run_id() -> str:
    """Name of one invocation: UTC time and six random hex digits, so that ids sort by start."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def versions() -> dict[str, str]:
    """Versions that can change a result."""
    return {"cxr_ray": __version__, "python": platform.python_version()} | {p: version(p) for p in RECORDED_PACKAGES}


def write_run_record(output_uri: str, config: Any, *, name: str = "run.json", **facts: Any) -> None:
    """Write `run.json` into the output folder: the resolved config, versions, and `facts`."""
    record = {"config": dataclasses.asdict(config), "versions": versions(), **facts}
    write_bytes(join_uri(output_uri, name), json.dumps(record, indent=2, default=str).encode())


def write_table_record(table_uri: str, config: Any, **facts: Any) -> None:
    """The same beside a table: readers of the folder pass over the `x/_manifest.run.json` of `x/manifest.parquet`."""
    folder, _, name = table_uri.rpartition("/")
    write_run_record(folder, config, name=f"_{name.removesuffix('.parquet')}.run.json", **facts)
