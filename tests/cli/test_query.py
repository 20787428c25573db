"""``lake query`` and ``lake fingerprint``."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse_cli.query import json_value
from tests.cli.conftest import LAKE, Lake

pytest.importorskip("duckdb", reason="needs duckdb")

ROWS: dict[str, Any] = {
    "id": [1, 2**60, None],
    "text": ["a", "", None],
    "exact": [Decimal("1.50"), Decimal("-0.01"), None],
    "real": [0.5, float("nan"), float("-inf")],
    "at": pa.array([0, 1, None], pa.timestamp("us", "UTC")),
    "fine": pa.array([1_709_208_000_123_456_789, None, 0], pa.timestamp("ns")),
    "day": pa.array([0, 3_000_000, None], pa.date32()),
    "bytes": [b"\0\xff", b"", None],
    "list": [[1, None], [], None],
    "inner": [{"x": Decimal("2.5")}, {"x": None}, None],
}
EVERY = "SELECT * FROM 'orders' ORDER BY id NULLS LAST"


@pytest.fixture
def orders(lake: Lake) -> Path:
    folder = lake.folder / "orders"
    folder.mkdir()
    pq.write_table(pa.table(ROWS), folder / "x.parquet")
    return folder


def test_rows_are_a_table_in_which_null_is_told_from_nothing(lake: Lake, orders: Path) -> None:
    ran = lake("query", EVERY.replace("*", "id, text, exact, list"))
    assert ran.exit_code == 0, ran.stderr
    lines = [line.split("\t") for line in ran.stdout.splitlines()]
    assert lines == [
        ["id", "text", "exact", "list"],
        ["1", "a", "1.50", "[1,null]"],
        [str(2**60), "", "-0.01", "[]"],
        ["NULL", "NULL", "NULL", "NULL"],
    ]


def test_the_document_holds_every_value_exactly(lake: Lake, orders: Path) -> None:
    document = lake("query", EVERY, "--json").document
    assert [column["name"] for column in document["columns"]] == list(ROWS)
    assert document["row_count"] == len(document["rows"]) == 3
    assert document["parquet"] is None
    assert document["rows"][0] == [
        1, "a", "1.50", 0.5, "1970-01-01T00:00:00.000000Z", "2024-02-29T12:00:00.123456789", "1970-01-01", "AP8=", [1, None],
        {"x": "2.5"},
    ]  # fmt: skip
    assert document["rows"][1] == [
        2**60, "", "-0.01", "NaN", "1970-01-01T00:00:00.000001Z", None, "10183-09-21", "", [], {"x": None},
    ]  # fmt: skip
    assert document["rows"][2][3] == "-Infinity"


def test_csv_tells_an_empty_text_from_null(lake: Lake, orders: Path) -> None:
    ran = lake("query", EVERY, "--csv")
    rows = list(csv.reader(io.StringIO(ran.stdout)))
    assert rows[0] == list(ROWS)
    assert rows[1][1:3] == ["a", "1.50"]
    assert rows[1][-2:] == ["[1,null]", '{"x":"2.5"}']
    assert ran.stdout.splitlines()[2].startswith(f'{2**60},"",-0.01,')
    assert ran.stdout.splitlines()[3].startswith(",,,")


def test_a_parquet_file_holds_the_rows_as_they_are(lake: Lake, orders: Path) -> None:
    assert lake("query", EVERY, "--parquet", "out.parquet").stdout == "out.parquet: 3 rows\n"
    written = pq.read_table(lake.folder / "out.parquet")
    assert written.select(["id", "text", "exact", "bytes", "list"]).equals(
        pa.table(ROWS).select(["id", "text", "exact", "bytes", "list"])
    )
    document = lake("query", EVERY, "--parquet", "out.parquet", "--json", "--limit", "1").document
    assert (document["rows"], document["row_count"], document["parquet"]) == (None, 1, "out.parquet")
    assert pq.read_metadata(lake.folder / "out.parquet").num_rows == 1


def test_a_parquet_file_is_there_whole_or_not_at_all(lake: Lake, orders: Path) -> None:
    (lake.folder / "out.parquet").write_bytes(b"of yesterday")
    failing = "SELECT CASE WHEN range < 300000 THEN 1 ELSE error('too far') END AS x FROM range(400000)"
    ran = lake("query", failing, "--parquet", "out.parquet")
    assert ran.exit_code == 2
    assert "too far" in ran.stderr
    assert (lake.folder / "out.parquet").read_bytes() == b"of yesterday"
    assert sorted(os.listdir(lake.folder)) == ["orders", "out.parquet"]
    assert lake("query", "SELECT 1", "--parquet", "nowhere/out.parquet").exit_code == 2
    assert lake("query", "SELECT 1 AS a, 2 AS a", "--parquet", "out.parquet").exit_code == 2


@pytest.mark.parametrize("how", [[], ["--csv"], ["--json"], ["--parquet", "out.parquet"]])
def test_a_damaged_file_is_named_however_rows_are_put_out(lake: Lake, orders: Path, how: list[str]) -> None:
    file = orders / "y.parquet"
    pq.write_table(pa.table({"text": [f"{number} in a file to be damaged" for number in range(1000)]}), file)
    data = bytearray(file.read_bytes())
    data[100:2000] = bytes(byte ^ 0xFF for byte in data[100:2000])
    file.write_bytes(data)
    ran = lake("query", "SELECT text FROM 'orders'", *how)
    assert ran.exit_code == 3
    assert "y.parquet" in ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout
    assert sorted(os.listdir(lake.folder)) == ["orders"]


def test_only_so_many_rows_are_computed_as_are_wanted(lake: Lake) -> None:
    endless = "SELECT range AS n FROM range(1000000000000)"
    assert lake("query", endless, "--limit", "2").stdout == "n\n0\n1\n"
    assert lake("query", endless, "--limit", "0", "--json").document["rows"] == []
    with subprocess.Popen(
        [LAKE, "query", endless, "--csv"], cwd=lake.folder, env=lake.environ(), stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b'"n"\n'
        running.stdout.close()  # as head does
        assert running.wait(timeout=30) == 1


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["SELECT 1", "--csv", "--json"], 2, "--csv"),
        (["SELECT nope FROM 'orders'"], 2, "nope"),
        (["DROP TABLE x"], 2, "SELECT"),
        (["SELECT 1", "--memory", "1M"], 2, "128M"),
        (["SELECT * FROM nothing"], 3, "nothing"),
        (["SELECT * FROM read_csv('/etc/passwd')"], 6, "/etc/passwd"),
    ],
)
def test_what_cannot_be_is_refused_with_the_exit_code_of_its_kind(
    lake: Lake, orders: Path, arguments: list[str], exit_code: int, says: str
) -> None:
    ran = lake("query", *arguments)
    assert (ran.exit_code, ran.stdout) == (exit_code, "") or "--json" in arguments
    assert says in ran.stderr


def test_equal_rows_have_equal_fingerprints_whatever_holds_them(lake: Lake) -> None:
    for name, rows in (("one", [1, 2, 3]), ("two", [3, 1, 2]), ("three", [3, 1, 4])):
        (lake.folder / name).mkdir()
        for number, part in enumerate((rows[:1], rows[1:])):
            pq.write_table(pa.table({"id": part, "name": ["x"] * len(part)}), lake.folder / name / f"{number}.parquet")
    one, two, three = (lake("fingerprint", name, "--json").document for name in ("one", "two", "three"))
    assert one == two
    assert (one["algorithm"], one["rows"]) == ("lrh1", 3)
    assert three["digest"] != one["digest"]
    assert three["columns"]["id"] != one["columns"]["id"]
    assert three["columns"]["name"] == one["columns"]["name"]
    lines = lake("fingerprint", "one").stdout.splitlines()
    assert lines == [f"lrh1 {one['digest']} 3 rows", "COLUMN\tFINGERPRINT", *(f"{k}\t{v}" for k, v in one["columns"].items())]
    assert lake("fingerprint", "one", "--as-of", "2024-01-01").exit_code == 2
    assert lake("fingerprint", "nowhere").exit_code == 3


def test_values_as_json_has_them() -> None:
    assert json_value({"a": [(1, b"x")], "b": float("inf")}) == {"a": [[1, "eA=="]], "b": "Infinity"}
