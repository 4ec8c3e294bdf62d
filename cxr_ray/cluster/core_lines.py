"""Keep the log lines of Ray's C++ core, which bypass Python's standard error, off the terminal."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2  # the file descriptor of standard error
CORE_LINE = re.compile(rb"\[\d{4}-\d\d-\d\d [\d:,]+ [A-Z] \d+ \d+\] .*\.cc:\d+: .*\n?")
"""Pattern of a log line of Ray's core: `[2026-01-31 12:00:00,123 I 42 42] logging.cc:303: Set ray log level ...`."""


@contextmanager
def without_core_lines() -> Iterator[None]:
    """Capture standard error inside the block, and write it after the block without the lines of Ray's C++ core.

    If the block fails, all lines are written. The block should be short, because nothing is shown while it runs.
    """
    if sys.stderr is None:  # the process was started with standard error closed
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(STDERR)
    failed = True
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), STDERR)
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(terminal, STDERR)
            os.close(terminal)
            captured.seek(0)
            for line in captured:
                if failed or not CORE_LINE.fullmatch(line):
                    os.write(STDERR, line)
