"""Manifest lists are rewritten: paths and lengths, and nothing else."""

from __future__ import annotations

import pytest

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.avro import read_container
from lakehouse.formats.iceberg.manifest_list import ManifestFile, read_list, rewrite_list
from tests.formats.iceberg import avro_files as files
from tests.formats.iceberg.manifest_files import NEW, OLD, address, list_schema, manifests, written

SHAPES = ["usual", "nullable", "names", "v1"]
PATHS = [f"{OLD}/metadata/ü {'x' * 80}-m0.avro", f"{OLD}/metadata/b-m1.avro", f"{OLD}/c"]


@pytest.mark.parametrize("shape", SHAPES)
def test_manifests_are_read_as_they_are_written(shape: str) -> None:
    records = manifests(*PATHS)
    records[2]["key_metadata"] = b"k"
    file = written(list_schema(shape=shape), records[:1], records[1:])
    later = shape != "v1"
    assert read_list(file, "l") == [
        ManifestFile(PATHS[0], 1000, int(later), 5, encrypted=False),
        ManifestFile(PATHS[1], 1000, 0, None, encrypted=False),
        ManifestFile(PATHS[2], 1000, int(later), 5, encrypted=True),
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_paths_and_lengths_change_and_nothing_else(shape: str) -> None:
    """Trap Iceberg 2: a wrong manifest_length makes engines read a part of the manifest, in silence."""
    file = written(list_schema(shape=shape), manifests(*PATHS[:2]), manifests(PATHS[2]))
    lengths = {path: 10**number for number, path in enumerate(PATHS)}
    new = rewrite_list(file, "l", address, lengths.__getitem__)
    expected = files.records_of(file)
    for record in expected:
        record["manifest_length"] = lengths[record["manifest_path"]]
        record["manifest_path"] = record["manifest_path"].replace(OLD, NEW, 1)
    assert files.records_of(new) == expected
    before, after = read_container(file, "x"), read_container(new, "x")
    assert before[0] == after[0]
    assert [block.count for block in before[1]] == [block.count for block in after[1]] == [2, 1]


def test_a_list_without_manifests_stays_one() -> None:
    file = written(list_schema())
    assert read_list(file, "l") == []
    assert rewrite_list(file, "l", address, lambda _: 0) == file


def test_a_torn_list_is_never_a_shorter_one() -> None:
    """Trap Iceberg 10."""
    file = written(list_schema(), manifests(*PATHS))
    start = len(read_container(file, "x")[0].raw)
    for end in (*range(0, start, 97), *range(start + 1, len(file))):
        with pytest.raises(NotFound):
            read_list(file[:end], "l")
        with pytest.raises(NotFound):
            rewrite_list(file[:end], "l", address, lambda _: 0)


@pytest.mark.parametrize("field", ["manifest_path", "manifest_length"])
def test_a_manifest_without_path_or_length_is_damage(field: str) -> None:
    records = manifests(PATHS[0])
    records[0][field] = None
    with pytest.raises(NotFound, match=field):
        read_list(written(list_schema(shape="nullable"), records), "l")


def test_a_path_that_may_not_be_mapped_ends_the_rewriting() -> None:
    with pytest.raises(Unsupported):
        rewrite_list(written(list_schema(), manifests("s3://other/m.avro")), "l", address, lambda _: 0)


def test_a_path_that_is_no_text_is_damage() -> None:
    file = written(list_schema(), manifests(f"{OLD}/qqqq"), codec="null")
    with pytest.raises(NotFound, match="damaged"):
        read_list(file.replace(b"qqqq", b"\xff\xff\xff\xff"), "l")
