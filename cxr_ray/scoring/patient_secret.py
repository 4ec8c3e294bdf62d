"""The secret that keys the hashes of patient ids."""

import hashlib
import hmac
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cxr_ray.errors import ConfigError

log = logging.getLogger("cxr_ray")

SECRET_VARIABLE = "CXR_RAY_PATIENT_SECRET"  # noqa: S105  the name of a variable, not a secret
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable that Ray sets for the command of `ray job submit`, which runs on a node of the cluster."""


class PatientSecret:
    """A secret that turns patient ids into keys; no text of it or of an object that holds it shows it.

    Ray writes the attributes of a pipeline's functions to its logs and its dashboard, those of dataclasses one by one.

    Args:
        secret: the bytes of the secret; None if there is none, which matters only for images with a patient id.
        missing: why there is no secret, and what to do.
    """

    __slots__ = ("_missing", "_secret")

    def __init__(self, secret: bytes | None, missing: str = "") -> None:
        self._secret, self._missing = secret, missing

    def __repr__(self) -> str:
        return "PatientSecret(***)"

    def key_of(self, patient_id: str | None) -> str | None:
        """Keyed hash (HMAC-SHA256, 16 hex digits) of a raw patient id; None if there is no patient id.

        Without the secret, nobody can find the patient id of a hash by trying ids.

        Raises:
            ConfigError: if there is a patient id and no secret.
        """
        return self._hash(patient_id)[:16] if patient_id else None

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that differ between secrets, so that one output does not mix the keys of two; or `none`."""
        if self._secret is None:
            return "none"
        return self._hash("fingerprint of the secret")[16:24]

    def _hash(self, text: str) -> str:
        if self._secret is None:
            raise ConfigError(self._missing)
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def patient_secret() -> PatientSecret:
    """Return the secret in `CXR_RAY_PATIENT_SECRET`, or else the one in the user's own configuration folder.

    The file in that folder is created once, with a random secret. The secret is never stored in an output, because
    a person who has both could try patient ids until a hash matches.

    Where the file cannot be read or made, there is no secret, and the first image with a patient id ends the job:
    archives without patient ids, such as folders of PNGs, need none.

    Raises:
        ConfigError: if the file of the secret is empty (hashes without a secret would reveal patient ids), or if there is
            none and the job was submitted to a cluster, whose nodes come and go.
    """
    if given := os.environ.get(SECRET_VARIABLE):
        return PatientSecret(given.encode())
    path = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "cxr_ray" / "patient_secret"
    try:
        if not path.exists():
            _make_secret(path)
        secret = path.read_bytes().strip()
    except OSError as error:
        return PatientSecret(
            None, f"the secret that keys patient ids cannot be kept in {path} ({error.strerror}); set {SECRET_VARIABLE}"
        )
    if not secret:
        raise ConfigError(f"{path} is empty; delete it, or set {SECRET_VARIABLE}")
    return PatientSecret(secret)


def _make_secret(path: Path) -> None:
    """Create the file `path` with a new secret in one step, or keep the secret that another process put there first."""
    if SUBMITTED in os.environ:
        raise ConfigError(
            f"a job that is submitted to a cluster needs {SECRET_VARIABLE}, because a secret made on a node is lost with "
            "the node; set it where ray start runs on the head node"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(part, path)
            log.info(
                "a new secret for patient_key is in %s; set %s to use one secret on all machines", path, SECRET_VARIABLE
            )
    finally:
        part.unlink(missing_ok=True)
