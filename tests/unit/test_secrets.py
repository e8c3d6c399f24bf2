"""What errors, logs and reports show of a URI."""

from __future__ import annotations

import pytest

from sparkml_lsml.errors import PASSWORD_IN_URI, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no s3a://KEY:SECRET@bucket/x", "no s3a://***@bucket/x"),
        # as keys of AWS have them, which should be written as %2F
        ("s3a://KEY:SEC/RET/@bucket/x@noon", "s3a://***@bucket/x@noon"),
        # a number before the slash is no port
        ("S3N://KEY:12/34@bucket/x", "S3N://***@bucket/x"),
        ("ftp://me:SEC?RET@host/x", "ftp://***@host/x"),
        ("ftp://me:SEC@RET@host/x", "ftp://***@host/x"),
        ("wasbs://box:SECRET@account/x", "wasbs://***@account/x"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert PASSWORD_IN_URI.search(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ftp://me@host/x", "ftp://***@host/x"),
        (
            "'https://a.blob.core.windows.net/x?sv=1&sig=SEC%2FRET&se=2'",
            "'https://a.blob.core.windows.net/x?sv=1&sig=***&se=2'",
        ),
        ("(wasbs://box@account/x?sig=SECRET)", "(wasbs://box@account/x?sig=***)"),
        (
            "https://bucket.s3.amazonaws.com/x?X-Amz-Credential=KEY%2Fs3&X-Amz-Signature=c0ffee",
            "https://bucket.s3.amazonaws.com/x?X-Amz-Credential=***&X-Amz-Signature=***",
        ),
        ("https://h/x?X-Goog-Signature=c0ffee, then", "https://h/x?X-Goog-Signature=***, then"),
    ],
)
def test_users_and_signatures_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        # containers
        "abfss://box@account.dfs.core.windows.net/x",
        "abfs://box@account/x",
        "wasb://box@account/x",
        "wasbs://box@account/x",
        "hdfs://namenode:8020/rows@noon",
        "mongodb://one:27017,two:27017/rows@noon",
        "https://host:443?to=me@host",
        "http://[::1]:8080/rows@noon",
        "s3a://bucket/a:b@noon",
        "s3a://${env:BUCKET}/rows@noon",
        "file:///rows:all@noon?sigma=3",
        "hdfs://namenode:8020 of me@host",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert without_secrets(text) == text
    assert not PASSWORD_IN_URI.search(text)
