"""Say what to do about an error of a storage: the line that ends the message of a `StorageError`."""

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime

CHECK_ALL = "check the URI, the credentials and the permissions"
MAKE_ROOM = "make room there"
_KEY = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, on every node"
_SESSION = "renew AWS_SESSION_TOKEN, on every node"
_REGION = "the bucket lies in another region: set AWS_DEFAULT_REGION to it"
_BUCKET = "the bucket does not exist there: correct its name or AWS_ENDPOINT_URL, or create it"
_DENIED = "the key has no permission for that: ask for s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject"
_ENDPOINT = "nothing answers there: check AWS_ENDPOINT_URL and the network"
_OVERLOAD = "the store is overloaded or fails: run the same command again later, it continues"
_CODES = {
    "InvalidAccessKeyId": _KEY,
    "SignatureDoesNotMatch": _KEY,
    "InvalidSecurity": _KEY,
    "ExpiredToken": _SESSION,
    "InvalidToken": _SESSION,
    "TokenRefreshRequired": _SESSION,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "301": _REGION,
    "NoSuchBucket": _BUCKET,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "403": _DENIED,
    "SlowDown": _OVERLOAD,
    "ServiceUnavailable": _OVERLOAD,
    "InternalError": _OVERLOAD,
    "500": _OVERLOAD,
    "503": _OVERLOAD,
    "QuotaExceeded": "the quota of the bucket is used up: free or raise it; the same command continues",
}
_ERRNOS = {
    errno.ENOSPC: f"{MAKE_ROOM}; the same command continues",
    errno.EDQUOT: f"{MAKE_ROOM}; the same command continues",
    errno.EROFS: "the disk is read-only: choose another place, or mount it for writing; the same command continues",
    errno.EACCES: "this user has no permission there: change the permissions, or choose another place",
    errno.EPERM: "this user has no permission there: change the permissions, or choose another place",
}


def fix_of(error: BaseException) -> str:
    """Return what a user can do about an exception of a filesystem, as part of a line.

    The exceptions of s3fs carry the code of the store in the exception that caused them.
    """
    from botocore.exceptions import ClientError, NoCredentialsError, SSLError  # type: ignore[import-untyped]
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError as NoAnswer

    for cause in _causes(error):
        if isinstance(cause, ClientError):
            return _fix_of_code(cause.response.get("Error", {}))
        if isinstance(cause, NoCredentialsError):
            return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, on every node, or give the machines a role"
        if isinstance(cause, SSLError):
            return "check the certificate of AWS_ENDPOINT_URL, and AWS_CA_BUNDLE"
        if isinstance(cause, NoConnection | NoAnswer):
            return _ENDPOINT
        if isinstance(cause, OSError) and cause.errno in _ERRNOS:
            return _ERRNOS[cause.errno]
    return _ERRNOS[errno.ENOSPC] if is_full(str(error)) else CHECK_ALL  # pyarrow gives the number in its text only


def is_full(message: str) -> bool:
    """Whether the message of a failed write says that a disk or a quota is full."""
    return any(os.strerror(number) in message for number in (errno.ENOSPC, errno.EDQUOT))


def code_of(error: BaseException) -> str:
    """The code with which a store of S3 refused, such as `AccessDenied`; empty if it gave none."""
    from botocore.exceptions import ClientError

    codes = (
        cause.response.get("Error", {}).get("Code", "") for cause in _causes(error) if isinstance(cause, ClientError)
    )
    return next(codes, "")


def _fix_of_code(found: dict[str, str]) -> str:
    code = found.get("Code", "")
    if code == "RequestTimeTooSkewed":
        return f"the clock of this machine says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: set it right"
    fix = _CODES.get(code, CHECK_ALL)
    return f"{fix} ({found['Region']})" if fix is _REGION and found.get("Region") else fix


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
