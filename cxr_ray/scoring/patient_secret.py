"""The secret that keys the hashes of patient ids."""

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cxr_ray.errors import ConfigError

log = logging.getLogger("cxr_ray")

SECRET_VARIABLE = "CXR_RAY_PATIENT_SECRET"  # noqa: S105  the name of a variable, not a secret


def patient_secret() -> bytes:
    """Return the secret in `CXR_RAY_PATIENT_SECRET`, or else the one in the user's own configuration folder.

    The file in that folder is created once, with a random secret. The secret is never stored in an output, because
    a person who has both could try patient ids until a hash matches.

    Raises:
        ConfigError: if the file of the secret is empty; hashes without a secret would reveal patient ids.
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
    """Create the file `path` with a new secret in one step, or keep the secret that another process put there first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    with suppress(FileExistsError):
        os.link(part, path)
        log.info(
            "a new secret for patient_key is in %s; set %s to use one secret on all machines", path, SECRET_VARIABLE
        )
    part.unlink()
