"""Keep the log lines of a run beside its output, in `OUTPUT/logs/`, because those of a cluster's head are lost with it."""

import json
import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.config.redaction import redacted
from cxr_ray.errors import CxrRayError, StorageError

LOGS_FOLDER = "logs"
"""Folder of the logs in an output."""
UPLOAD_SECONDS = 15.0
"""Seconds between two uploads, and the time of which a lost driver leaves no lines."""
PART_BYTES = 2**20
"""Size from which a file is left as it is and the next one is begun, because each upload writes a whole file."""
MOST_PARTS = 32
"""Maximum number of files of a run; further lines are on the terminal only."""

log = logging.getLogger("cxr_ray")


class KeptLog(logging.Handler):
    """A handler that writes each record as a line of JSON with `time`, `level`, `run_id` and `message`.

    The files are named `RUN_ID.jsonl`, `RUN_ID-2.jsonl` and so on.

    Args:
        folder_uri: URI of the folder of the files.
        run_id: id of the run, which every line names.
    """

    def __init__(self, folder_uri: str, run_id: str) -> None:
        super().__init__()
        self._folder_uri, self._run_id = folder_uri, run_id
        self._part, self._lines, self._is_changed = 1, list[bytes](), False
        self._uploading = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record to the lines that the next upload writes."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "run_id": self._run_id,
            "message": redacted(record.getMessage()),
        }
        if self._part <= MOST_PARTS:
            self._lines.append(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
            self._is_changed = True

    def upload(self) -> None:
        """Write the file of the latest lines, if there are new ones.

        Raises:
            StorageError: if the storage fails; the next upload writes the lines, too.
        """
        with self._uploading:
            with self._held():
                content, part, changed = b"".join(self._lines), self._part, self._is_changed
                lines, self._is_changed = len(self._lines), False
            if not changed:
                return
            suffix = "" if part == 1 else f"-{part}"
            try:
                write_bytes(join_uri(self._folder_uri, f"{self._run_id}{suffix}.jsonl"), content)
            except StorageError:
                self._is_changed = True
                raise
        if len(content) >= PART_BYTES:
            with self._held():
                self._part, self._lines = part + 1, self._lines[lines:]
            if part == MOST_PARTS:
                log.warning("the kept log is full (%s files); further lines are on the terminal only", MOST_PARTS)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other threads from adding lines."""
        self.acquire()
        try:
            yield
        finally:
            self.release()


@contextmanager
def kept_log(output_uri: str, run_id: str) -> Iterator[None]:
    """Keep the log lines of this project below `output_uri` until the block ends, and the error with which it ends.

    An error is kept in one line. Of an unforeseen exception the lines of code are kept, too, without the messages of its
    causes, which may quote a header of DICOM.
    """
    handler, stop = KeptLog(join_uri(output_uri, LOGS_FOLDER), run_id), threading.Event()
    thread = threading.Thread(target=_upload_at_intervals, args=(handler, stop), name="logs", daemon=True)
    level = log.level
    log.setLevel(logging.INFO)  # also for a program that calls a job's function and has set no level
    log.addHandler(handler)
    thread.start()
    try:
        yield
    except BaseException as error:
        handler.handle(log.makeRecord(log.name, logging.ERROR, "", 0, error_text(error), (), None))
        raise
    finally:
        stop.set()
        thread.join(timeout=60)
        _upload(handler)
        log.removeHandler(handler)
        log.setLevel(level)


def error_text(error: BaseException) -> str:
    """Return an error as text: one line for an error of this project, else with the lines of code that raised it."""
    if isinstance(error, CxrRayError):
        return redacted(str(error))
    if isinstance(error, KeyboardInterrupt | SystemExit):  # by a signal
        return "interrupted"
    first = (str(error).strip().splitlines() or [""])[0]
    return redacted("".join([f"{type(error).__name__}: {first}\n", *traceback.format_tb(error.__traceback__)]).rstrip())


def _upload_at_intervals(handler: KeptLog, stop: threading.Event) -> None:
    is_failing = False
    while not stop.wait(UPLOAD_SECONDS):
        is_failing = not _upload(handler, quiet=is_failing)


def _upload(handler: KeptLog, *, quiet: bool = False) -> bool:
    """Upload, and return whether it succeeded; a failure is a warning unless `quiet`, and never ends a job."""
    try:
        handler.upload()
    except StorageError as error:
        if not quiet:
            log.warning("the kept log lacks the latest lines: %s", error)
        return False
    return True
