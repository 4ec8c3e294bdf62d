"""The user of a process, where the system does not know one, such as in a container with any user id."""

import os
from pathlib import Path

NO_HOME = "/nonexistent"
"""Home of a user who has none; Debian gives it to users of services."""


def name_user() -> None:
    """Set `HOME` and `USER` where neither the environment nor the system's list of users has them.

    Libraries ask for both when they are imported, Ray and torch among them, and fail without. The home does not exist, so
    nothing is kept there that would be lost with the container; what must be kept says so when it cannot be written.
    """
    import getpass

    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = NO_HOME
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["USER"] = f"user{os.getuid()}"
