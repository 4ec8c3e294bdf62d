"""Removal of secrets from URIs in text that is printed or recorded."""

import re
from typing import Any

HIDDEN = "***"
CONTAINER_BEFORE_HOST = ("abfs", "abfss", "wasb", "wasbs")
"""Schemes in whose URIs `name@host` names a container, and not a user."""

_USER_INFO = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<name>[^/@:\s]+)@|[^/@:\s]*:(?!\d+(?:[/\s]|$))[^@\s]*@)", re.IGNORECASE
)
# Punctuation directly after a URI belongs to the sentence, and not to the query of the URI.
_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?]*)\?\S*?=\S*?(?=[;:,.)'\"]*(?:\s|$))", re.IGNORECASE)


def redacted(text: str) -> str:
    """Replace the user name and password (`s3://key:secret@...`) and the query (`?X-Amz-Signature=...`) of every URI in `text` by `***`.

    Text without such a URI is returned unchanged. A `?` without a `=` after it does not start a query, so that names of
    objects that contain `?`, `#` or `%` are kept.
    """
    return _QUERY.sub(rf"\1?{HIDDEN}", _USER_INFO.sub(_without_user, text))


def _without_user(found: re.Match[str]) -> str:
    is_container = found["name"] is not None and found["scheme"].lower() in CONTAINER_BEFORE_HOST
    return found[0] if is_container else f"{found['scheme']}://{HIDDEN}@"


def redacted_values(value: Any) -> Any:
    """Redact every string in `value`, at any depth of dicts, lists and tuples; other objects are returned unchanged."""
    match value:
        case str():
            return redacted(value)
        case dict():
            return {redacted_values(key): redacted_values(item) for key, item in value.items()}
        case list():
            return [redacted_values(item) for item in value]
        case tuple():
            return tuple(redacted_values(item) for item in value)
        case _:
            return value
