"""An S3 filesystem that asks again for an answer that is damaged or cut short, where s3fs alone fails or takes it."""

import re
from typing import Any

from botocore.exceptions import (  # type: ignore[import-untyped]
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    ResponseStreamingError,
)
from s3fs import S3FileSystem
from s3fs.core import set_custom_error_handler

TEMPORARY_CODES = {"500", "502", "503", "504", "InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"}
"""Codes of failures that pass; botocore repeats such a request, and s3fs repeats it again after longer pauses."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/")


class CheckedS3(S3FileSystem):  # type: ignore[misc]
    """S3 whose answers are checked: their checksum by botocore, where the store keeps one, and the length of a range.

    Servers and proxies that fail in the middle of an answer may state the length of what they sent, not of what they
    were asked for. HTTP alone cannot tell such an answer from a whole one.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        set_custom_error_handler(passes)

    async def _call_s3(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call the store, and check the length of a range that it answers with.

        Raises:
            ResponseStreamingError: if the answer is shorter than its range; s3fs then asks again.
        """
        answer = await super()._call_s3(method, *arguments, **options)
        if method == "get_object" and (stated := _CONTENT_RANGE.match(answer.get("ContentRange") or "")):
            first, last = (int(number) for number in stated.groups())
            length = answer.get("ContentLength")  # absent where a server sends the answer in chunks
            if length not in (None, last - first + 1):
                answer["Body"].close()
                raise ResponseStreamingError(error=f"{length} bytes came in answer to a range of {last - first + 1}")
        return answer


def passes(error: BaseException) -> bool:
    """Whether a failed request is worth repeating, of those that s3fs does not repeat by itself."""
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code") in TEMPORARY_CODES
    return isinstance(error, FlexibleChecksumError | IncompleteReadError)
