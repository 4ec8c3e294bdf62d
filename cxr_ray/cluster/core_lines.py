"""The lines that Ray's C++ core writes to standard error past Python, and how to keep them off the terminal."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2
CORE_LINE = re.compile(rb"\[\d{4}-\d\d-\d\d [\d:,]+ [A-Z] \d+ \d+\] .*\.cc:\d+: .*\n?")
"""Such as `[2026-01-31 12:00:00,123 I 42 42] logging.cc:303: Set ray log level ...`."""


@contextmanager
def without_core_lines() -> Iterator[None]:
    """Hold standard error back inside the block, and write it afterwards without the lines of Ray's C++ core.

    All lines are written if the block fails. The block should be short: nothing is shown while it runs.
    """
    if sys.stderr is None:  # the process was started with standard error closed
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(STDERR)
    failed = True
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), STDERR)
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(terminal, STDERR)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if failed or not CORE_LINE.fullmatch(line):
                    os.write(STDERR, line)
