import pytest

from cxr_ray.config.redaction import redacted, redacted_values

SIGNED = "https://bucket.s3.amazonaws.com/a.png?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=0a1b"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://AKIA1:sec/ret+1@bucket/chest x-rays", "s3://***@bucket/chest x-rays"),
        ("sftp://jane:pa:ss@host:22/scans", "sftp://***@host:22/scans"),
        ("https://ghp_token@host/a", "https://***@host/a"),
        ("simplecache::s3://key:secret@bucket/a", "simplecache::s3://***@bucket/a"),
        (SIGNED, "https://bucket.s3.amazonaws.com/a.png?***"),
        ("az://container/a.png?sv=1&sig=x%3D", "az://container/a.png?***"),
    ],
)
def test_secrets_of_a_uri_are_hidden(uri, shown):
    assert redacted(uri) == shown
    assert redacted(f"cannot read {uri}; check the URI") == f"cannot read {shown}; check the URI"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/chest x-rays #1/50% @ 3?/a@b.png",
        "/home/jane@host/a:b@c?x=1",
        "http://127.0.0.1:8080/a@b",
        "abfss://container@account.dfs.core.windows.net/scans",
        "did you mean 'input_uri'?",
    ],
)
def test_what_is_no_secret_stays(uri):
    assert redacted(uri) == uri


def test_values_are_redacted_at_any_depth():
    value = {"model_uri": ("s3://k:s@b/m", "m"), "prompts": {"a": ["https://h/?t=1"]}, "rows": 3, "rate": None}
    expected = {"model_uri": ("s3://***@b/m", "m"), "prompts": {"a": ["https://h/?***"]}, "rows": 3, "rate": None}
    assert redacted_values(value) == expected
