"""Manifests are rewritten: what is mapped, what is dropped, and that nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import NotFound, Unsupported
from lakehouse.formats.iceberg.avro import read_container
from lakehouse.formats.iceberg.manifest import Entry, read_entries, rewrite_manifest
from tests.formats.iceberg import avro_files as files
from tests.formats.iceberg.manifest_files import DELETED_PATH, NEW, OLD, address, entry, entry_schema, written

SHAPES = ["usual", "nullable", "names", "unknown"]
WEIRD = [
    f"{OLD}/data/a,b c/%20+#?/ü=日本/{{}}.parquet",
    f"{OLD}/data/{'long/' * 30}f.parquet",
    f"{OLD}/data/{'x' * 8300}.parquet",
    f"{OLD}//double",
]


def never(_: Entry) -> None:
    return None


def rewritten(file: bytes, sizes: Callable[[Entry], int | None] = never) -> list[dict[str, Any]]:
    """The records after rewriting, having checked that header and blocks are as before."""
    new = rewrite_manifest(file, "m.avro", address, sizes)
    before, after = read_container(file, "x"), read_container(new, "x")
    assert before[0] == after[0]
    assert [block.count for block in before[1]] == [block.count for block in after[1]]
    return files.records_of(new)


def bounds(record: dict[str, Any]) -> list[dict[int, bytes]]:
    """Lower and upper bounds of an entry."""
    return [{item["key"]: item["value"] for item in record["data_file"][name]} for name in ("lower_bounds", "upper_bounds")]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_of_data_files_the_paths_change_and_nothing_else(shape: str, codec: str) -> None:
    """Traps Iceberg 6 (key-values, unknown fields, order, inherited nulls survive) and 13 (odd characters in paths)."""
    records = [entry(path, status=number % 3) for number, path in enumerate(WEIRD * 3)]
    file = written(entry_schema(shape=shape), records[:5], [], records[5:], codec=codec)
    expected = files.records_of(file)
    for record in expected:
        record["data_file"]["file_path"] = record["data_file"]["file_path"].replace(OLD, NEW, 1)
    assert rewritten(file) == expected


def test_an_unchanged_address_gives_the_same_bytes() -> None:
    file = written(entry_schema(shape="unknown"), [entry(path) for path in WEIRD], codec="null")
    assert rewrite_manifest(file, "m.avro", lambda path: path, never) == file


def test_manifests_of_version_1_have_data_files_only() -> None:
    file = written(entry_schema(version=1), [entry(path) for path in WEIRD])
    assert [each.content for each in read_entries(file, "m")] == [0] * 4
    assert [record["data_file"]["file_path"] for record in rewritten(file)] == [path.replace(OLD, NEW, 1) for path in WEIRD]


def test_user_data_that_holds_the_prefix_or_a_whole_encoded_path_is_left_alone() -> None:
    """A blind replacement of bytes would reach into bounds and partition values."""
    path = f"{OLD}/data/a.parquet"
    (record,) = rewritten(written(entry_schema(), [entry(path)]))
    assert record["data_file"]["partition"] == {"file_path": path}
    assert bounds(record) == [
        {1: path.encode(), 2: b"\x0c" + files.text(path.encode())},
        {1: path.encode(), 2: files.text(path.encode())},
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_entries_are_read_as_they_are_written(shape: str) -> None:
    records = [
        entry(f"{OLD}/a", file_format="parquet", record_count=2**40, file_size_in_bytes=3),
        entry(f"{OLD}/ü", status=2, content=1, referenced_data_file=f"{OLD}/a", key_metadata=b"k"),
        entry(f"{OLD}/c", status=0, content=2, equality_ids=[1]),
    ]
    assert list(read_entries(written(entry_schema(shape=shape), records[:1], records[1:]), "m")) == [
        Entry(1, 0, f"{OLD}/a", "parquet", 3, encrypted=False),
        Entry(2, 1, f"{OLD}/ü", "PARQUET", 1234, encrypted=True),
        Entry(0, 2, f"{OLD}/c", "PARQUET", 1234, encrypted=False),
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_referenced_data_file_is_mapped_for_deletes_and_for_data(shape: str) -> None:
    """Trap Iceberg 5: on Parquet position deletes of version 2 too, not only on deletion vectors."""
    records = [
        entry(f"{OLD}/d.parquet", content=1, referenced_data_file=f"{OLD}/a"),
        entry(f"{OLD}/d.puffin", content=1, file_format="PUFFIN", referenced_data_file=f"{OLD}/b", content_offset=4),
        entry(f"{OLD}/data.parquet", referenced_data_file=f"{OLD}/c"),
    ]
    for order, content in ((records, "data"), (records[::-1], "data"), (records[:2], "deletes")):
        file = written(entry_schema(shape=shape), order, content=content)
        found = [record["data_file"]["referenced_data_file"] for record in rewritten(file)]
        assert sorted(found) == [f"{NEW}/a", f"{NEW}/b", f"{NEW}/c"][: len(order)]


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_of_rewritten_delete_files_are_set_and_only_theirs(shape: str) -> None:
    """Trap Iceberg 2: sizes are right after rewriting."""
    records = [
        entry(f"{OLD}/one", content=1),
        entry(f"{OLD}/kept", content=1, status=2),
        entry(f"{OLD}/data"),
        entry(f"{OLD}/equality", content=2, equality_ids=[1]),
        entry(f"{OLD}/v.puffin", content=1, file_format="PUFFIN", content_offset=4, content_size_in_bytes=40, column_sizes=None),
    ]
    asked: list[str] = []

    def size(each: Entry) -> int | None:
        asked.append(each.path)
        return {f"{OLD}/one": 99_999, f"{OLD}/v.puffin": 55}.get(each.path)

    file = written(entry_schema(shape=shape), records)
    found = [record["data_file"] for record in rewritten(file, size)]
    assert asked == [f"{OLD}/{name}" for name in ("one", "kept", "equality", "v.puffin")]
    assert [each["file_size_in_bytes"] for each in found] == [99_999, 1234, 1234, 1234, 55]
    assert [each["split_offsets"] for each in found] == [None, [4], [4], [4], None]
    assert [each["column_sizes"] is None for each in found] == [True, False, False, False, True]
    assert (found[4]["content_offset"], found[4]["content_size_in_bytes"]) == (4, 40)


def test_sizes_that_may_not_be_null_are_kept() -> None:
    schema = entry_schema()
    for field in schema["fields"][3]["type"]["fields"]:
        if field["name"] in ("column_sizes", "split_offsets"):
            field["type"] = field["type"][1]
    (record,) = rewritten(written(schema, [entry(f"{OLD}/one", content=1)]), lambda _: 5)
    assert record["data_file"]["file_size_in_bytes"] == 5
    assert record["data_file"]["split_offsets"] == [4]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (f"{OLD}/data/a", f"{OLD}/data/a", (f"{NEW}/data/a", f"{NEW}/data/a")),
        (f"{OLD}/data/a", f"{OLD}/data/z/ü", (f"{NEW}/data/a", f"{NEW}/data/z/ü")),
        ("s3://elsewhere/x/a", "s3://elsewhere/x/a", (address("s3://elsewhere/x/a"),) * 2),
        ("s3://elsewhere/x/a", "s3://elsewhere/x/b", None),
        ("s3://elsewhere/x/a", f"{OLD}/data/a", None),
        (f"{OLD}/data/a", "s3://other/b", None),
        ("s3://lake/wareh", "s3://lake/warei", None),
        (f"{OLD}-archive/a", f"{OLD}-archive/a", None),
        (f"{OLD}/data/a", None, None),
        (None, f"{OLD}/data/a", None),
        (None, None, None),
    ],
)
def test_bounds_of_deleted_paths_are_mapped_or_dropped(
    shape: str, lower: str | None, upper: str | None, expected: tuple[str, str] | None
) -> None:
    """Traps Iceberg 4 (bounds that do not agree bring deleted rows back) and 1 (a prefix ends on a path boundary)."""
    plain = entry(f"{OLD}/d", content=1)
    file = written(entry_schema(shape=shape), [entry(f"{OLD}/d", content=1, lower=lower, upper=upper), plain])
    first, second = rewritten(file)
    mapped = [{DELETED_PATH: each.encode()} for each in expected] if expected else [{}, {}]
    assert bounds(first) == [others | bound for others, bound in zip(bounds(plain), mapped, strict=True)]
    assert bounds(second) == bounds(plain)


def test_bounds_that_are_no_text_are_dropped() -> None:
    record = entry(f"{OLD}/d", content=1)
    for name in ("lower_bounds", "upper_bounds"):
        record["data_file"][name] = [{"key": DELETED_PATH, "value": b"\xff\xfe"}]
    (new,) = rewritten(written(entry_schema(), [record]))
    assert bounds(new) == [{}, {}]


def test_bounds_of_that_key_in_other_files_are_user_data() -> None:
    records = [entry(f"{OLD}/d", content=content, lower=f"{OLD}/a", upper=f"{OLD}/a") for content in (0, 2)]
    file = written(entry_schema(), records)
    assert [bounds(record) for record in rewritten(file)] == [bounds(record) for record in records]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_rewriting_equals_decoding_editing_and_encoding(data: st.DataObject) -> None:
    names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=90)
    shape = data.draw(st.sampled_from(SHAPES))
    records = []
    for _ in range(data.draw(st.integers(1, 12))):
        more: dict[str, Any] = {"content": data.draw(st.integers(0, 2)), "record_count": data.draw(st.integers(0, 2**63 - 1))}
        if data.draw(st.booleans()):
            more["referenced_data_file"] = f"{OLD}/{data.draw(names)}"
        if data.draw(st.booleans()):
            more["column_sizes"] = [{"key": key, "value": key} for key in range(data.draw(st.integers(0, 40)))]
        if more["content"] == 1:
            more["lower"], more["upper"] = f"{OLD}/{data.draw(names)}", f"{OLD}/{data.draw(names)}"
        records.append(entry(f"{OLD}/{data.draw(names)}", status=data.draw(st.integers(0, 2)), **more))
    file = written(entry_schema(shape=shape), records, content=data.draw(st.sampled_from(["data", "deletes"])))
    expected = copy.deepcopy(files.records_of(file))
    for record in expected:
        each = record["data_file"]
        each["file_path"] = each["file_path"].replace(OLD, NEW, 1)
        if each["referenced_data_file"] is not None:
            each["referenced_data_file"] = each["referenced_data_file"].replace(OLD, NEW, 1)
        for item in (*each["lower_bounds"], *each["upper_bounds"]):
            if item["key"] == DELETED_PATH:
                item["value"] = item["value"].replace(OLD.encode(), NEW.encode(), 1)
        if each["content"]:
            each |= {"file_size_in_bytes": 77, "column_sizes": None, "split_offsets": None}
    assert rewritten(file, lambda _: 77) == expected


@pytest.mark.parametrize("number", [0, 1, 299, 300, 599])
def test_one_delete_file_among_many_data_files_is_found(number: int) -> None:
    """What a walker has learned of hundreds of entries is not believed of the next one."""
    schema = entry_schema() | {"doc": f"with {number}"}
    records = [entry(f"{OLD}/{each}") for each in range(600)]
    records[number] = entry(f"{OLD}/d", content=1, lower=f"{OLD}/a", upper=f"{OLD}/a", referenced_data_file=f"{OLD}/a")
    found = rewritten(written(schema, records[:300], records[300:]), lambda _: 77)
    assert [each["data_file"]["file_path"] for each in found] == [
        f"{NEW}/d" if each == number else f"{NEW}/{each}" for each in range(600)
    ]
    odd = found[number]
    assert (odd["data_file"]["file_size_in_bytes"], odd["data_file"]["referenced_data_file"]) == (77, f"{NEW}/a")
    assert [each[DELETED_PATH] for each in bounds(odd)] == [f"{NEW}/a".encode()] * 2


def test_a_path_that_may_not_be_mapped_ends_the_rewriting() -> None:
    for more in ({}, {"content": 1}):
        with pytest.raises(Unsupported, match="may not be mapped"):
            rewrite_manifest(written(entry_schema(), [entry("s3://other/a", **more)]), "m", address, never)


@pytest.mark.parametrize("field", ["status", "file_path", "file_size_in_bytes", "record_count", "file_format", "data_file"])
def test_an_entry_that_lacks_what_it_needs_is_damage(field: str) -> None:
    record = entry()
    (record if field in record else record["data_file"])[field] = None
    file = written(entry_schema(shape="nullable"), [entry(), record])
    with pytest.raises(NotFound, match="lacks"):
        list(read_entries(file, "m"))
    if field in ("file_path", "data_file"):
        with pytest.raises(NotFound, match="lacks"):
            rewrite_manifest(file, "m", address, never)


def test_a_path_that_is_no_text_is_damage() -> None:
    file = written(entry_schema(), [entry(f"{OLD}/qqqq")], codec="null")
    at = file.index(b"qqqq")
    torn = file[:at] + b"\xff\xff\xff\xff" + file[at + 4 :]
    for work in (lambda: list(read_entries(torn, "m")), lambda: rewrite_manifest(torn, "m", address, never)):
        with pytest.raises(NotFound, match="m is damaged"):
            work()


def test_a_manifest_list_is_no_manifest() -> None:
    with pytest.raises(NotFound, match="no field data_file"):
        list(read_entries(files.container({"type": "record", "name": "r", "fields": []}, []), "m"))
    with pytest.raises(NotFound, match="damaged"):
        list(read_entries(files.container({"type": "record"}, []), "m"))


def test_a_torn_manifest_is_never_a_shorter_one() -> None:
    """Trap Iceberg 10: a read error is never turned into an empty manifest or list."""
    file = written(entry_schema(), [entry(f"{OLD}/a"), entry(f"{OLD}/b")])
    start = len(read_container(file, "x")[0].raw)
    for end in (*range(0, start, 97), *range(start + 1, len(file))):
        with pytest.raises(NotFound):
            rewrite_manifest(file[:end], "m", address, never)
