"""Terminal output of a job: its own lines, and no lines of other libraries that a user cannot act on."""

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
"""Maximum number of characters of an option's value in the first line of a job; `run.json` holds the whole value."""

KEPT_ONLY = "cxr_ray.kept"
"""Name of the logger whose lines a kept log holds and the terminal does not show."""

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


class RedactedFormatter(logging.Formatter):
    """Formats log records without the secrets that URIs carry."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line, or as several if it has a traceback, and hide secrets."""
        return redacted(super().format(record))


def set_up_terminal(*, debug: bool) -> None:
    """Send log lines of this project and errors of other libraries to standard error; the function may be called again.

    Python warnings concern code, which the user of a job cannot change. They are shown only with `debug`, or if Python
    was started with `python -W` or `PYTHONWARNINGS`. A warning that a user can act on is a log line of this project.

    Args:
        debug: whether to show Python warnings, warnings of other libraries, and tracebacks of unforeseen exceptions.
    """
    for stream in (sys.stdout, sys.stderr):
        _show_every_character(stream)
    formatter = RedactedFormatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S")
    ours, others = logging.getLogger("cxr_ray"), logging.getLogger()
    for logger in (ours, others):
        for old in [handler for handler in logger.handlers if isinstance(handler.formatter, RedactedFormatter)]:
            logger.removeHandler(old)
        handler = logging.StreamHandler()
        handler.setFormatter(formatter)
        handler.addFilter(lambda record: record.name != KEPT_ONLY)
        logger.addHandler(handler)
        if logger is others:
            handler.setLevel(logging.WARNING if debug else logging.ERROR)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
    sys.excepthook = _excepthook(debug=debug)


def print_line(text: str) -> None:
    """Print a line, at once even if standard output is a file, and add it to the kept log of a run if there is one."""
    print(text, flush=True)
    logging.getLogger(KEPT_ONLY).info("%s", text)


def _show_every_character(stream: Any) -> None:
    """Let a stream write what its encoding lacks as an escaped code point; by default Python raises.

    Names of files and classes may hold any character, and a terminal may be ASCII only.
    """
    if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def start_line(job: str, config: Any) -> str:
    """One line that says what a job will do: its URIs, required options and options that differ from their defaults.

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
    parts = [", ".join(part) for part in (leading, changed) if part]
    return f"{job}: {'; '.join(parts) or 'defaults'}"


def _shown(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = " ".join(redacted(text).split())
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _excepthook(*, debug: bool) -> ExceptHook:
    """Make a hook that shows an unforeseen exception as one line, or with `debug` as a traceback, and hides secrets."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if debug:
            text = "".join(traceback.format_exception(kind, error, trace)).rstrip("\n")
        else:
            first_line = (str(error).strip().splitlines() or [""])[0]
            text = f"error: {kind.__name__}: {first_line} (run again with --debug for the traceback)"
        print(redacted(text), file=sys.stderr)

    return show
