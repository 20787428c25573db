"""Addresses are parsed once and spelled one way."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import Config
from lakehouse.url import Url, parse

SEGMENT = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)
BUCKET = st.from_regex(r"[a-z0-9][a-z0-9.-]{2,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3a://bucket/a", "s3://bucket/a"),
        ("s3n://bucket/a/", "s3://bucket/a"),
        ("S3://Bucket/A", "s3://Bucket/A"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a//b", "s3://bucket/a//b"),
        ("s3://bucket/p=a%20b/x+y?#&", "s3://bucket/p=a%20b/x+y?#&"),
        ("gcs://bucket/a", "gs://bucket/a"),
        ("abfs://c@acc.dfs.core.windows.net/a", "abfss://c@acc.dfs.core.windows.net/a"),
        ("az://container/a", "az://container/a"),
        ("file:///a/b", "file:///a/b"),
        ("file:/a/b", "file:///a/b"),
        ("file://localhost/a", "file:///a"),
        ("/a/./b/../c/", "file:///a/c"),
        ("memory://x/y", "memory://x/y"),
    ],
)
def test_one_spelling(written: str, canonical: str) -> None:
    assert str(parse(written)) == canonical


def test_a_path_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(parse("table")) == f"file://{os.path.realpath(tmp_path)}/table"
    assert parse("./table") == parse("table")


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(parse("~/t")) == "file:///home/someone/t"


@pytest.mark.parametrize(
    "written", ["s3://KEY:SECRET@bucket/x", "s3://KEY@bucket/x", "sftp://me:SECRET@host/x", "abfss://a:SECRET@b/x"]
)
def test_credentials_in_an_address_are_refused_without_being_shown(written: str) -> None:
    with pytest.raises(Config) as caught:
        parse(written)
    assert "SECRET" not in str(caught.value)
    assert "KEY" not in str(caught.value)


def test_an_empty_address_is_refused() -> None:
    with pytest.raises(Config):
        parse("")


@given(BUCKET, st.lists(SEGMENT, max_size=4))
def test_parsing_what_was_printed_gives_the_same(bucket: str, segments: list[str]) -> None:
    url = Url("s3", bucket, "/".join(segments))
    assert parse(str(url)) == url


@given(BUCKET, st.lists(SEGMENT, max_size=3), SEGMENT)
def test_a_child_has_its_parent(bucket: str, segments: list[str], name: str) -> None:
    url = Url("s3", bucket, "/".join(segments))
    assert url.child(name).parent == url
    assert url.child(name).name == name


def test_a_bucket_has_no_parent() -> None:
    with pytest.raises(Config):
        _ = Url("s3", "bucket", "").parent
