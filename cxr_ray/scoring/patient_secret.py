"""The secret that keys patient hashes."""

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cxr_ray.errors import ConfigError

log = logging.getLogger("cxr_ray")

SECRET_VARIABLE = "CXR_RAY_PATIENT_SECRET"  # noqa: S105  the name of a variable, not a secret


def patient_secret() -> bytes:
    """`CXR_RAY_PATIENT_SECRET`, or a random secret made once and kept in the user's own configuration folder.

    It never stands beside the output: who holds both could try patient ids until one fits.

    Raises:
        ConfigError: if the file of the secret is empty; a hash keyed by nothing could be guessed back.
    """
    if given := os.environ.get(SECRET_VARIABLE):
        return given.encode()
    path = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "cxr_ray" / "patient_secret"
    if not path.exists():
        _make_secret(path)
    if not (secret := path.read_bytes().strip()):
        raise ConfigError(f"{path} is empty; delete it, or set {SECRET_VARIABLE}")
    return secret


def _make_secret(path: Path) -> None:
    """Put a new secret at `path` whole, unless another process was first: jobs that start together share one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    with suppress(FileExistsError):
        os.link(part, path)
        log.info("patient_key: made a secret in %s; set %s to use your own on every machine", path, SECRET_VARIABLE)
    part.unlink()
