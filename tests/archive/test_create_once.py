"""Of several writers of a file, one alone succeeds."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cxr_ray.archive.create_once import Creation, create_once
from cxr_ray.archive.uris import open_filesystem


def create(uri, content):
    return create_once(*open_filesystem(uri), content)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def uri(request, tmp_path):
    return f"{tmp_path}/state/owner" if request.param == "local" else f"{request.getfixturevalue('bucket_uri')}/owner"


def test_one_of_many_writers_creates_the_file(uri):
    contents = [bytes([number]) * 9 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(create, [uri] * 8, contents))
    assert sorted(one.value for one in created) == ["created", *["exists"] * 7]
    fs, path = open_filesystem(uri)
    assert fs.cat_file(path) == contents[created.index(Creation.CREATED)]


@pytest.mark.s3
def test_a_client_that_repeats_its_successful_write_has_created_the_file(bucket_uri):
    assert create(f"{bucket_uri}/owner", b"mine") is Creation.CREATED
    assert create(f"{bucket_uri}/owner", b"mine") is Creation.CREATED
    assert create(f"{bucket_uri}/owner", b"other") is Creation.EXISTS
