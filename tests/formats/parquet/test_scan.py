"""Folders of Parquet files as tables. Traps: plain Parquet."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse import Config, NotFound, Unsupported
from lakehouse.tables import open_table


def write(folder: Path, path: str, table: pa.Table | dict[str, Any], **options: Any) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), file, **options)
    return file


def rows(folder: Path, **scan: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_table(str(folder)).scan(**scan).to_arrow().to_pylist()
    return found


def test_a_folder_is_the_rows_of_its_files_in_the_order_of_their_paths(tmp_path: Path) -> None:
    write(tmp_path, "b/2.parquet", {"id": [3]})
    write(tmp_path, "a/1.parquet", {"id": [1, 2]})
    write(tmp_path, "c.PARQUET", {"id": [4]})
    table = open_table(str(tmp_path))
    assert table.format == "parquet"
    assert table.schema() == pa.schema({"id": pa.int64()})
    assert table.scan().to_arrow()["id"].to_pylist() == [1, 2, 3, 4]


def test_partitions_are_columns_after_those_of_the_files(tmp_path: Path) -> None:
    for number, day, country in (("01", "2024-02-29", "NO"), ("02", "2024-03-01", "__HIVE_DEFAULT_PARTITION__")):
        write(tmp_path, f"n={number}/day={day}/country={country}/year=2024/x.parquet", {"id": [1]})
    table = open_table(str(tmp_path))
    kinds = {"id": pa.int64(), "n": pa.string(), "day": pa.date32(), "country": pa.string(), "year": pa.int64()}
    assert table.schema() == pa.schema(kinds)
    first, second = rows(tmp_path)
    assert first == {"id": 1, "n": "01", "day": date(2024, 2, 29), "country": "NO", "year": 2024}
    assert second == {"id": 1, "n": "02", "day": date(2024, 3, 1), "country": None, "year": 2024}


def test_a_partition_is_read_only_when_it_is_wanted(tmp_path: Path) -> None:
    write(tmp_path, "day=1/x.parquet", {"id": [1]})
    damaged = write(tmp_path, "day=2/x.parquet", {"id": list(range(1000))})
    table = open_table(str(tmp_path))
    assert table.scan().count_rows() == 1001
    damaged.write_bytes(bytes(damaged.stat().st_size))
    assert table.scan(where="day = 1 OR day IS NULL").count_rows() == 1
    assert table.scan(where="day BETWEEN -5 AND 1").to_arrow().num_rows == 1
    with pytest.raises(NotFound, match=r"day=2/x.parquet"):
        table.scan(where="day > 1").count_rows()


def test_a_column_of_the_file_wins_over_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "day=1/x.parquet", {"day": pa.array([7], pa.int32()), "id": [1]})
    write(tmp_path, "day=2/x.parquet", {"id": [2]})
    assert rows(tmp_path) == [{"day": 7, "id": 1}, {"day": 2, "id": 2}]
    assert rows(tmp_path, where="day = 2") == [{"day": 2, "id": 2}]
    assert open_table(str(tmp_path)).schema().field("day").type == pa.int32()
    write(tmp_path, "day=x/x.parquet", {"id": [3]})
    with pytest.raises(Unsupported, match="day=x"):
        rows(tmp_path)


def test_folders_that_do_not_state_the_same_columns_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, "day=1/x.parquet", {"id": [1]})
    write(tmp_path, "x.parquet", {"id": [2]})
    with pytest.raises(Unsupported, match=r"day=1/x.parquet is in a folder day=…, and x.parquet is in none"):
        rows(tmp_path)


def test_what_is_hidden_or_no_data_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "_part=1/x.parquet", {"id": [1]})
    for path in ("_part=1/_hidden.parquet", "_part=1/.part-0.parquet", "_old/x.parquet", ".trash/x.parquet", "_metadata.parquet"):
        write(tmp_path, path, {"id": [99]})
    for path in ("_SUCCESS", "_part=1/_metadata", "_common_metadata", "notes.txt", "_part=1/.x.parquet.crc"):
        (tmp_path / path).write_bytes(b"no data")
    assert rows(tmp_path) == [{"id": 1, "_part": 1}]


def test_files_of_a_job_that_failed_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "x.parquet", {"id": [1]})
    write(tmp_path, "_temporary/0/task/part-0.parquet", {"id": [2]})
    with pytest.raises(Unsupported, match="_temporary"):
        rows(tmp_path)


def test_mixed_schemas_are_read_by_name_and_widened(tmp_path: Path) -> None:
    write(
        tmp_path, "1.parquet", {"a": pa.array([1], pa.int32()), "b": pa.array([Decimal("1.50")], pa.decimal128(5, 2)), "f": [0.5]}
    )
    later = {"b": pa.array([Decimal("12345.6789")], pa.decimal128(9, 4)), "new": ["x"], "f": pa.array([0.1], pa.float32())}
    write(tmp_path, "2.parquet", {**later, "a": pa.array([2**40], pa.int64())})
    write(tmp_path, "3.parquet", {"a": pa.array([3], pa.int16())})
    one, second, third = rows(tmp_path)
    assert one == {"a": 1, "b": Decimal("1.5000"), "f": 0.5, "new": None}
    assert (second["a"], second["b"], second["new"]) == (2**40, Decimal("12345.6789"), "x")
    assert second["f"] == pytest.approx(0.1, rel=1e-6)
    assert third == {"a": 3, "b": None, "f": None, "new": None}
    assert rows(tmp_path, where="a > 2", columns=["a"]) == [{"a": 2**40}, {"a": 3}]


def test_a_column_of_nothing_as_pandas_writes_it_is_of_the_type_of_other_files(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", {"id": [1], "l": pa.nulls(1), "s": pa.nulls(1)})
    write(tmp_path, "2.parquet", {"id": [2], "l": [["a"]], "s": [{"x": 1}]})
    assert rows(tmp_path) == [{"id": 1, "l": None, "s": None}, {"id": 2, "l": ["a"], "s": {"x": 1}}]
    for column in ("l", "s"):
        assert [row["id"] for row in rows(tmp_path, where=f"{column} IS NULL")] == [1]
        assert [row["id"] for row in rows(tmp_path, where=f"{column} IS NOT NULL")] == [2]
    assert [row["id"] for row in rows(tmp_path, where="s.x = 1")] == [2]


def test_types_that_no_type_holds_are_refused_with_both_files(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", {"id": [1], "a": [1]})
    write(tmp_path, "2.parquet", {"a": ["x"]})
    with pytest.raises(Unsupported, match=r"column 'a' is int64 in 1.parquet and string in 2.parquet"):
        rows(tmp_path)


def test_fields_inside_of_structs_are_read_by_name_too(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", {"s": [{"x": 1}], "l": [[{"k": 1}]]})
    write(
        tmp_path, "2.parquet", {"s": [{"y": "b", "x": 2}, None], "l": pa.array([[], None], pa.list_(pa.struct({"z": pa.int8()})))}
    )
    assert [row["s"] for row in rows(tmp_path)] == [{"x": 1, "y": None}, {"x": 2, "y": "b"}, None]
    assert [row["l"] for row in rows(tmp_path)] == [[{"k": 1, "z": None}], [], None]
    assert [row["s"]["x"] for row in rows(tmp_path, where="s.y = 'b'")] == [2]


def test_what_was_a_dictionary_in_memory_is_its_values(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", {"c": pa.array(["a", "b"]).dictionary_encode()})
    write(tmp_path, "2.parquet", {"c": ["c"]})
    assert open_table(str(tmp_path)).schema().field("c").type == pa.string()
    assert [row["c"] for row in rows(tmp_path, where="c >= 'b'")] == ["b", "c"]


def test_int96_and_nanoseconds_keep_their_instants(tmp_path: Path) -> None:
    moments = [datetime(1500, 1, 1), datetime(2024, 2, 29, 12, 0, 0, 123456), datetime(3000, 1, 1)]
    write(tmp_path / "int96", "1.parquet", {"t": pa.array(moments, pa.timestamp("us"))}, use_deprecated_int96_timestamps=True)
    assert [row["t"] for row in rows(tmp_path / "int96")] == moments
    exact = pa.array([1_709_208_000_123_456_789], pa.timestamp("ns"))
    write(tmp_path / "ns", "1.parquet", {"t": exact})
    table = open_table(str(tmp_path / "ns")).scan(where="t > TIMESTAMP '2024-02-29 12:00:00.123456788'")
    assert table.to_arrow()["t"].combine_chunks().equals(exact)


def test_files_without_rows_have_a_schema_and_files_without_bytes_are_damaged(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", pa.schema({"id": pa.int64()}).empty_table())
    assert open_table(str(tmp_path)).scan().to_arrow() == pa.schema({"id": pa.int64()}).empty_table()
    assert open_table(str(tmp_path)).scan().count_rows() == 0
    (tmp_path / "2.parquet").touch()
    with pytest.raises(NotFound, match=r"2.parquet: is empty"):
        rows(tmp_path)


def test_a_single_file_is_a_table(tmp_path: Path) -> None:
    file = write(tmp_path, "day=1/x.parquet", {"id": [1, 2]})
    assert open_table(str(file)).scan(where="id = 2").to_arrow().to_pylist() == [{"id": 2}]


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", {"id": [1]})
    (tmp_path / "2.parquet").write_bytes(b"PAR1 this is no file PAR1")
    with pytest.raises(NotFound, match=r"2.parquet is damaged"):
        rows(tmp_path)


def test_a_folder_with_hidden_data_only_has_none(tmp_path: Path) -> None:
    write(tmp_path, "_old/x.parquet", {"id": [1]})
    with pytest.raises(NotFound):
        rows(tmp_path)


def test_there_is_no_history(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", {"id": [1]})
    table = open_table(str(tmp_path))
    assert table.scan(version=table.version).count_rows() == 1
    for point in ({"version": "7"}, {"snapshot": 1}, {"ref": "main"}, {"as_of": "2024-02-29"}):
        with pytest.raises(Config, match="no history"):
            table.scan(**point)


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", pa.table([[1], [2]], names=["a", "a"]))
    with pytest.raises(Unsupported, match="several columns of one name"):
        rows(tmp_path)


def test_a_file_is_left_out_by_its_statistics(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", {"id": list(range(100_000))}, row_group_size=10_000)
    damaged = write(tmp_path, "2.parquet", {"id": list(range(200_000, 300_000))}, compression="none", use_dictionary=False)
    table = open_table(str(tmp_path))
    data = bytearray(damaged.read_bytes())
    data[1000:2000] = bytes(1000)
    damaged.write_bytes(data)
    assert table.scan(where="id < 150000 AND id > 99997").to_arrow()["id"].to_pylist() == [99_998, 99_999]
