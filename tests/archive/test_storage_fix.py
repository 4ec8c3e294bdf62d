"""Every failure of a storage ends with what to do about it."""

import errno

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, SSLError

from cxr_ray.archive.storage_fix import CHECK_ALL, fix_of


def caused(cause):
    """An exception as s3fs raises it: one of Python's, caused by one of botocore."""
    try:
        raise PermissionError("Forbidden") from cause
    except PermissionError as error:
        return error


@pytest.mark.parametrize(
    ("cause", "fix"),
    [
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "ListObjectsV2"), "the bucket does not exist there"),
        (ClientError({"Error": {"Code": "403"}}, "HeadObject"), "the key has no permission"),
        (ClientError({"Error": {"Code": "301", "Region": "eu-west-1"}}, "GetObject"), "to it (eu-west-1)"),
        (ClientError({"Error": {"Code": "XNew"}}, "GetObject"), CHECK_ALL),
        (ClientError({}, "GetObject"), CHECK_ALL),
        (NoCredentialsError(), "give the machines a role"),
        (SSLError(endpoint_url="https://store", error="self-signed"), "AWS_CA_BUNDLE"),
        (EndpointConnectionError(endpoint_url="https://store"), "nothing answers there"),
    ],
)
def test_the_exception_of_the_store_decides(cause, fix):
    assert fix in fix_of(caused(cause))


@pytest.mark.parametrize(
    ("number", "fix"),
    [(errno.ENOSPC, "make room"), (errno.EROFS, "read-only"), (errno.EACCES, "permission"), (errno.EIO, CHECK_ALL)],
)
def test_the_number_of_a_local_error_decides(number, fix):
    assert fix in fix_of(OSError(number, "it failed"))
