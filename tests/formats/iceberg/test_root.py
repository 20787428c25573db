"""Which metadata file is current: hints, their absence, orphans, names in the wild (trap Iceberg 16)."""

from __future__ import annotations

import gzip
import json
import uuid

import pytest

from lakehouse.connect import open_at
from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats import table_and_version
from lakehouse.formats.iceberg.metadata import check_metadata
from lakehouse.formats.iceberg.root import find_root, hinted_names, is_metadata_name, number_of, parse_metadata
from lakehouse.store import Store
from lakehouse.url import parse


def store(names: dict[str, list[str]], hint: str | None = None) -> Store:
    """A table folder with metadata files, each with the names that its metadata-log has."""
    made = open_at(parse(f"memory://{uuid.uuid4().hex}/t"), None)
    for name, log in names.items():
        data = json.dumps({"metadata-log": [{"metadata-file": f"s3://b/t/metadata/{entry}"} for entry in log]}).encode()
        made.put(f"metadata/{name}", data, size=len(data))
    for extra in ("snap-1.avro", "00009-x.avro"):
        made.put(f"metadata/{extra}", b"x", size=1)
    if hint is not None:
        made.put("metadata/version-hint.text", hint.encode(), size=len(hint))
    return made


V1, V2, V3 = "v1.metadata.json", "v2.metadata.json", "v3.metadata.json"
U0, U1, U2 = "00000-a.metadata.json", "00001-b.metadata.json", "00002-c.metadata.json"


@pytest.mark.parametrize(
    ("names", "hint", "chosen"),
    [
        ({V1: [], V2: [V1]}, "2", V2),
        ({V1: [], V2: [V1]}, "2\n", V2),
        ({U0: [], U1: [U0]}, U1, U1),
        ({U0: [], U1: [U0]}, "00001-b", U1),
        ({V1: [], "v2.gz.metadata.json": [V1]}, "2", "v2.gz.metadata.json"),
        ({V1: [], "v2.metadata.json.gz": [V1]}, "2", "v2.metadata.json.gz"),
        ({V1: [], V2: [V1], "v2.1.metadata.json": []}, "2", V2),
        ({U0: [], U1: [U0], U2: [U0, U1]}, None, U2),
        ({"vfinal.metadata.json": []}, None, "vfinal.metadata.json"),
        ({V2: [V1]}, None, V2),
        ({V1: [], V2: [V1], V3: [V1, V2]}, "2", V3),
        ({V1: [], V2: [V1], V3: [V1, V2]}, "1", V3),
    ],
)
def test_the_current_file_is_found(names: dict[str, list[str]], hint: str | None, chosen: str) -> None:
    assert find_root(store(names, hint))[0] == f"metadata/{chosen}"


@pytest.mark.parametrize(
    ("names", "hint", "why"),
    [
        ({V1: [], V2: [V1], V3: [V1]}, "2", "newer"),
        ({V1: [], V3: [V1, V2]}, "1", "newer"),
        ({U0: [], U1: [U0], U2: [U0, U1]}, U1, "newer"),
        ({V1: [], V2: [V1]}, "7", "not there"),
        ({V1: [], V2: [V1]}, "", "not there"),
        ({U0: [], U1: [U0], "00001-orphan.metadata.json": [U0]}, None, "same number"),
        ({U0: [], U1: [U0], U2: [U0]}, None, "does not follow"),
        ({U0: [], "vfinal.metadata.json": [U0]}, None, "not every name has a number"),
        ({V1: [], V2: [V1], "v2.gz.metadata.json": [V1]}, "2", "two files"),
    ],
)
def test_in_doubt_the_candidates_are_named_and_nothing_is_chosen(names: dict[str, list[str]], hint: str | None, why: str) -> None:
    with pytest.raises(NotFound, match=why) as raised:
        find_root(store(names, hint))
    assert all(name in str(raised.value) for name in names)


def test_a_file_that_is_named_is_taken_and_one_that_is_not_there_is_not() -> None:
    there = store({V1: [], V2: [V1], V3: [V1, V2]}, "2")
    assert find_root(there, V3)[0] == f"metadata/{V3}"
    with pytest.raises(NotFound, match=r"v9\.metadata\.json"):
        find_root(there, "v9.metadata.json")


def test_nothing_there_is_no_table() -> None:
    with pytest.raises(NotFound, match="no Iceberg table"):
        find_root(store({}))


def test_numbers_are_read_from_every_spelling() -> None:
    assert [number_of(name) for name in (V3, U2, "v12.gz.metadata.json", "00010-x-y.metadata.json.gz")] == [3, 2, 12, 10]
    assert [number_of(name) for name in ("vfinal.metadata.json", "v3.1.metadata.json", "x.metadata.json")] == [None] * 3
    assert not is_metadata_name("version-hint.text")
    assert not is_metadata_name(".metadata.json")
    assert hinted_names(b" 3 ")[1] == V3


def test_gzip_is_told_by_content_not_by_name() -> None:
    data = json.dumps({"format-version": 2}).encode()
    assert parse_metadata(gzip.compress(data), "x") == parse_metadata(data, "x")
    for broken in (b"", b"[]", b"{", gzip.compress(data)[:-9], b"\x1f\x8b"):
        with pytest.raises(NotFound, match="damaged"):
            parse_metadata(broken, "x")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s3://b/t/metadata/v3.metadata.json", ("s3://b/t", V3)),
        ("s3://b/t/meta/v3.metadata.json", ("s3://b/t/meta", V3)),
        ("minio:x/t/metadata/00001-b.metadata.json", ("minio:x/t", U1)),
        ("./t/metadata/v2.gz.metadata.json", ("./t", "v2.gz.metadata.json")),
        ("s3://b/t", ("s3://b/t", None)),
        ("orders", ("orders", None)),
    ],
)
def test_the_address_of_a_metadata_file_is_its_table_at_that_version(place: str, expected: tuple[str, str | None]) -> None:
    assert table_and_version(place) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"format-version": 4},
        {"encryption-keys": [{"key-id": "k"}]},
        {"snapshots": [{"snapshot-id": 1, "manifest-list": "x", "key-id": "k"}]},
        {"properties": {"encryption.key-id": "k"}},
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(more: dict[str, object]) -> None:
    """Trap Iceberg 11: encrypted tables, format version ≥ 4."""
    with pytest.raises(Unsupported, match=r"format version 4|encrypted"):
        check_metadata({"format-version": 3, "location": "s3://b/t"} | more, "x")
