"""The secret that keys patient hashes."""

import logging
import os
import secrets
from pathlib import Path

log = logging.getLogger("cxr_ray")

SECRET_VARIABLE = "CXR_RAY_PATIENT_SECRET"  # noqa: S105  the name of a variable, not a secret


def patient_secret() -> bytes:
    """`CXR_RAY_PATIENT_SECRET`, or a random secret made once and kept in the user's own configuration folder.

    It never stands beside the output: who holds both could try patient ids until one fits.
    """
    if given := os.environ.get(SECRET_VARIABLE):
        return given.encode()
    path = Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser() / "cxr_ray" / "patient_secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        log.info(
            "patient_key: made a secret in %s; set %s to use one of your own on every machine",
            path,
            SECRET_VARIABLE,
        )
    return path.read_bytes().strip()
