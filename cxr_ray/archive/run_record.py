"""Write the record `run.json` of a job: its config, the versions of its libraries, and its progress or results."""

import dataclasses
import json
import logging
import math
import platform
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from types import TracebackType
from typing import Any

from cxr_ray import __version__
from cxr_ray.archive.uris import exists, join_uri, read_bytes, write_bytes
from cxr_ray.config.redaction import redacted_values
from cxr_ray.errors import StorageError

RECORD_NAME = "run.json"
"""Name of the record in the output folder of a job; it also marks the folder as one."""
RECORDED_PACKAGES = ("ray", "torch", "timm", "pyarrow", "pillow", "pydicom")
RENEWAL_SECONDS = 30.0
"""Minimum number of seconds between two records of a run that goes on."""

log = logging.getLogger("cxr_ray")


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


class RunRecord:
    """The record of a run that may take hours: its `state` is `running`, then `finished` or `failed`.

    Nothing is written before the first `renew`. As a context manager it then writes the state `failed` if the block
    raises before `finish` was called. The state of a run that was killed stays `running`; its entry `updated` grows old.

    Args:
        output_uri: output folder of the job, which this run holds.
        config: config of the job.
        is_owner: whether the run still holds the output; if not, nothing more is written before `finish`.
        facts: entries that every state of the record has, besides `started`.
    """

    def __init__(self, output_uri: str, config: Any, *, is_owner: Callable[[], bool], **facts: Any) -> None:
        self._output_uri, self._config, self._is_owner = output_uri, config, is_owner
        self.facts = facts | {"started": facts.get("started", datetime.now(UTC))}
        self._writing, self._is_over, self._renewed = threading.Lock(), False, -math.inf
        self._progress: dict[str, Any] = {}

    def renew(self, **progress: Any) -> None:
        """Write how far the run is, unless `RENEWAL_SECONDS` have not passed; a failure of the storage is a warning."""
        self._progress = progress
        if time.monotonic() - self._renewed >= RENEWAL_SECONDS:
            self._renewed = time.monotonic()
            self._write_unless_over("running")

    def finish(self, **results: Any) -> None:
        """Write the results, with the state `finished`.

        Raises:
            StorageError: if the folder cannot be written.
        """
        with self._writing:
            self._is_over = True
            entries = self.facts | {"finished": datetime.now(UTC)} | results
            write_run_record(self._output_uri, self._config, state="finished", **entries)

    def __enter__(self) -> "RunRecord":
        """Return the record itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write that the run failed, if it did and has no results."""
        if error is not None and self._renewed > -math.inf:
            first_line = (str(error).strip().splitlines() or [""])[0]
            self._write_unless_over("failed", error=first_line or type(error).__name__)

    def _write_unless_over(self, state: str, **entries: Any) -> None:
        with self._writing:
            if self._is_over or not self._is_owner():
                return
            self._is_over = state == "failed"
            entries = self.facts | {"updated": datetime.now(UTC)} | self._progress | entries
            try:
                write_run_record(self._output_uri, self._config, state=state, **entries)
            except StorageError as error:
                log.warning("%s is not up to date: %s", RECORD_NAME, error)


def is_finished_record(uri: str) -> bool:
    """Whether there is the record of a finished run at `uri`; earlier versions wrote no other, and no state.

    Raises:
        StorageError: if it cannot be read.
    """
    return exists(uri) and bool(json.loads(read_bytes(uri)).get("state", "finished") == "finished")
