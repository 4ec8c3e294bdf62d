"""What a job shows on the terminal: its own lines, and nothing that a user cannot act on."""

import dataclasses
import logging
import sys
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

from cxr_ray.config.redaction import redacted

LONGEST_VALUE = 120
"""Characters of an option's value that the first line of a job shows; `run.json` holds all of it."""

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


class RedactedFormatter(logging.Formatter):
    """Formats log records without the secrets that URIs carry."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or the lines where a traceback belongs to the record."""
        return redacted(super().format(record))


def set_up_terminal(*, debug: bool) -> None:
    """Send our log lines to standard error, and of other libraries only errors; safe to call again.

    Python warnings speak of code, which the user of a job cannot change: they are shown with `debug`, or where Python
    itself was asked for them (`python -W`, `PYTHONWARNINGS`). A warning that a user can act on is a log line of ours.
    """
    formatter = RedactedFormatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S")
    ours, others = logging.getLogger("cxr_ray"), logging.getLogger()
    for logger in (ours, others):
        for old in [handler for handler in logger.handlers if isinstance(handler.formatter, RedactedFormatter)]:
            logger.removeHandler(old)
        handler = logging.StreamHandler()
        handler.setFormatter(formatter)
        logger.addHandler(handler)
        if logger is others:
            handler.setLevel(logging.WARNING if debug else logging.ERROR)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
    sys.excepthook = _excepthook(debug=debug)


def start_line(job: str, config: Any) -> str:
    """One line that says what a job will do: its URIs, required options, and options that differ from their defaults.

    Args:
        job: name of the job.
        config: a dataclass.
    """
    leading: list[str] = []
    changed: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        is_required = default is dataclasses.MISSING
        if not is_required and value == default:
            continue
        name, is_uri = field.name, field.name.endswith(("_uri", "_uris"))
        shown = f"{name.removesuffix('s').removesuffix('_uri') if is_uri else name} {_shown(value)}"
        (leading if is_uri or is_required else changed).append(shown)
    return "; ".join(filter(None, (f"{job}: {', '.join(leading)}", ", ".join(changed))))


def _shown(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = " ".join(redacted(text).split())
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _excepthook(*, debug: bool) -> ExceptHook:
    """Shows an unforeseen exception as one line, and with `debug` as a traceback; both without secrets."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if debug:
            text = "".join(traceback.format_exception(kind, error, trace)).rstrip("\n")
        else:
            first_line = (str(error).strip().splitlines() or [""])[0]
            text = f"error: {kind.__name__}: {first_line} (run again with --debug for the traceback)"
        print(redacted(text), file=sys.stderr)

    return show
