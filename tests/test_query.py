"""SQL over tables by their names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from lakehouse.config import DatasetSettings, Settings, StoreSettings
from lakehouse.errors import Config, LakeError, NotFound, Unsupported
from lakehouse.query import Query, sql
from lakehouse.tables import open_table
from tests.conditions import conditions, tables

duckdb = pytest.importorskip("duckdb", reason="needs duckdb")


def write(folder: Path, rows: pa.Table | dict[str, Any], name: str = "x.parquet") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.table(rows), folder / name)
    return str(folder)


def answer(text: str, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sql(text, **options).to_arrow().to_pylist()
    return found


def test_places_names_and_datasets_are_tables(tmp_path: Path) -> None:
    orders = write(tmp_path / "store" / "orders", {"id": [1, 2, 3], "customer": [7, 8, 7]})
    write(tmp_path / 'it\'s "odd"', {"id": [7, 8], "name": ["Ada", "Bob"]})
    named = Settings(
        stores={"here": StoreSettings("here", f"file://{tmp_path}/store")},
        datasets={"customers": DatasetSettings("customers", str(tmp_path / 'it\'s "odd"'))},
    )
    text = "SELECT name, count(*) AS n FROM {} o JOIN customers c ON o.customer = c.id GROUP BY name ORDER BY n DESC"
    for place in (f"'{orders}'", f'"{orders}"', f"'file://{orders}'", "'here:orders'"):
        assert answer(text.format(place), settings=named) == [{"name": "Ada", "n": 2}, {"name": "Bob", "n": 1}]
    odd = str(tmp_path / 'it\'s "odd"')
    assert answer("SELECT max(id) AS m FROM '{}'".format(odd.replace("'", "''"))) == [{"m": 8}]
    assert answer('FROM "{}" SELECT max(id) AS m'.format(odd.replace('"', '""'))) == [{"m": 8}]


def test_a_name_within_the_query_is_no_table(tmp_path: Path) -> None:
    place = write(tmp_path / "t", {"id": [1, 2]})
    assert answer(f"WITH q AS (FROM '{place}') SELECT count(*) AS n FROM Q, (VALUES (1)) v(x), range(2)") == [{"n": 4}]
    named = Settings(datasets={"q": DatasetSettings("q", place)})
    assert answer("WITH q AS (SELECT id + 1 AS id FROM q), p AS (FROM q) SELECT max(id) AS m FROM p", settings=named) == [
        {"m": 3}
    ]
    counting = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT max(n) AS m FROM r"
    assert answer(counting) == [{"m": 5}]
    assert answer("SELECT (WITH z AS (SELECT 1 AS a) SELECT a FROM z) AS a FROM q LIMIT 1", settings=named) == [{"a": 1}]
    with pytest.raises(NotFound, match="z"):
        answer("SELECT (WITH z AS (SELECT 1 AS a) SELECT a FROM z) AS a FROM z")


def test_two_places_that_differ_in_case_only_are_not_mixed_up(tmp_path: Path) -> None:
    lower, upper = write(tmp_path / "t", {"id": [1]}), write(tmp_path / "T", {"id": [2]})
    with pytest.raises(Config, match="in case only"):
        sql(f"SELECT * FROM '{lower}' UNION ALL SELECT * FROM '{upper}'")
    named = Settings(datasets={"one": DatasetSettings("one", lower)})
    assert answer(f"SELECT * FROM one UNION ALL SELECT * FROM '{upper}' ORDER BY id", settings=named) == [{"id": 1}, {"id": 2}]


def test_a_query_reads_what_the_tables_were_when_it_was_made_and_as_often_as_asked(tmp_path: Path) -> None:
    place = write(tmp_path / "t", {"id": [1, 2]})
    query = sql(f"SELECT id, id * 2 AS id FROM '{place}' ORDER BY 1")
    write(tmp_path / "t", {"id": [3]}, "y.parquet")
    assert query.schema == pa.schema([("id", pa.int64()), ("id", pa.int64())])
    for _ in range(2):
        assert query.to_arrow().schema == query.schema
        assert [column.to_pylist() for column in query.to_arrow().columns] == [[1, 2], [2, 4]]
    assert [batch.num_rows for batch in query] == [2]
    assert sql(f"SELECT id FROM '{place}' WHERE false").to_arrow() == pa.schema({"id": pa.int64()}).empty_table()


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("COPY (SELECT 1) TO 'out.csv'", Config, "Only SELECT"),
        ("CREATE TABLE x (a INT)", Config, "Only SELECT"),
        ("INSERT INTO 'PLACE' VALUES (1)", Config, ""),
        ("SET memory_limit = '1TB'", Config, "Only SELECT"),
        ("ATTACH 'x.db'", Config, "Only SELECT"),
        ("INSTALL httpfs", Config, "Only SELECT"),
        ("SELECT 1; DROP TABLE x", Config, "Only SELECT"),
        ("SELECT 1; SELECT 2", Config, "not 2 statements"),
        ("", Config, "one SELECT"),
        ("SELEC 1", Config, "syntax error"),
        ("SELECT nope FROM 'PLACE'", Config, "nope"),
        ("SELECT id::DATE FROM 'PLACE'", Config, ""),
        ("SELECT name::INT FROM 'PLACE'", Config, "Could not convert"),
        ("SELECT * FROM a.b.c", Config, "in quotes"),
        ("SELECT * FROM nothing", NotFound, "nothing"),
        ("SELECT * FROM 'nowhere.csv'", NotFound, "nowhere.csv"),
        ("SELECT * FROM read_csv('/etc/passwd')", Unsupported, "/etc/passwd"),
        ("SELECT * FROM read_parquet('PLACE/x.parquet')", Unsupported, "x.parquet"),
        ("SELECT * FROM glob('/*')", Unsupported, ""),
        ("SELECT content FROM read_text('/etc/passwd')", Unsupported, "/etc/passwd"),
    ],
)  # fmt: skip
def test_what_is_no_select_of_tables_is_refused(tmp_path: Path, text: str, error: type[LakeError], says: str) -> None:
    place = write(tmp_path / "t", {"id": [1], "name": ["a"]})
    with pytest.raises(error) as raised:
        answer(text.replace("PLACE", place))
    assert says in str(raised.value)
    assert os.listdir(tmp_path) == ["t"]


def test_variables_of_the_caller_are_no_tables() -> None:
    frame = pa.table({"id": [1]})  # which DuckDB would find by itself
    with pytest.raises(NotFound):
        answer("SELECT * FROM frame")
    assert frame.num_rows == 1


def test_an_error_while_rows_are_read_is_the_reader_s_own(tmp_path: Path) -> None:
    place = write(tmp_path / "t", {"id": [1]})
    query = sql(f"SELECT sum(id) FROM '{place}'")
    (tmp_path / "t" / "x.parquet").unlink()
    with pytest.raises(NotFound, match=r"t/x.parquet"):
        query.to_arrow()


@pytest.mark.parametrize(
    "taken",
    [
        lambda query: query.to_arrow(),
        lambda query: list(query),
        lambda query: list(query.to_reader()),
        lambda query: query.to_pandas(),
        lambda query: query.to_polars(),
    ],
)
def test_a_damaged_file_is_the_reader_s_own_error_while_rows_stream(tmp_path: Path, taken: Callable[[Query], Any]) -> None:
    place = write(tmp_path / "t", {"text": ["some text"] * 10})
    write(tmp_path / "t", {"text": [f"{number} in a file to be damaged" for number in range(1000)]}, "y.parquet")
    file = tmp_path / "t" / "y.parquet"
    data = bytearray(file.read_bytes())
    data[100:2000] = bytes(byte ^ 0xFF for byte in data[100:2000])
    file.write_bytes(data)
    query = sql(f"SELECT * FROM '{place}'")
    with pytest.raises(NotFound, match=r"y\.parquet") as raised:
        taken(query)
    assert "Traceback" not in str(raised.value)


def test_what_a_value_lacks_is_an_error_of_the_query_while_rows_stream() -> None:
    late = "SELECT CASE WHEN range < 300000 THEN '1' ELSE 'x' END::INT AS n FROM range(400000)"
    with pytest.raises(Config, match="Could not convert string 'x'"):  # before or after the first batch, as its threads run
        list(sql(late))


def test_a_query_that_needs_more_memory_than_it_may_take_says_so() -> None:
    with pytest.raises(Config, match="give it more"):
        answer("SELECT list(range) AS l FROM range(100000000)", memory="128M")


def test_a_column_that_duckdb_cannot_have_is_refused_by_name(tmp_path: Path) -> None:
    for kind in (pa.float16(), pa.decimal256(60, 2)):
        place = write(tmp_path / "t", {"id": [1], "wide": pa.array([1], kind)})
        with pytest.raises(Unsupported, match="'wide'"):
            sql(f"SELECT id FROM '{place}'")


def test_times_without_a_zone_are_utc_and_zones_stay(tmp_path: Path) -> None:
    place = write(tmp_path / "t", {"t": pa.array([0], pa.timestamp("us")), "z": pa.array([0], pa.timestamp("us", "UTC"))})
    table = sql(f"SELECT t, z FROM '{place}' WHERE t::TIMESTAMPTZ = z").to_arrow()
    assert table.schema.types == [pa.timestamp("us"), pa.timestamp("us", "UTC")]
    assert table.num_rows == 1


def test_more_rows_than_memory_are_sorted_in_temporary_files_that_go(tmp_path: Path) -> None:
    write(
        tmp_path / "t", pa.table({"id": pa.array(range(1_000_000)), "text": ["some text, so that rows are wide" * 8] * 1_000_000})
    )
    before = set(os.listdir(tempfile.gettempdir()))
    query = sql(f"SELECT id, text FROM '{tmp_path / 't'}' ORDER BY hash(id)", memory="200M")
    assert sum(batch.num_rows for batch in query) == 1_000_000
    assert not [name for name in set(os.listdir(tempfile.gettempdir())) - before if name.startswith("lake-query")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), condition=conditions)
def test_duckdb_over_a_scan_gives_the_rows_that_it_gives_over_its_own_table(
    tmp_path: Path, table: pa.Table, condition: str
) -> None:
    place = write(tmp_path / "t", table)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("given", table)
        connection.execute("CREATE TEMP TABLE held AS SELECT * FROM given")
        expected = [row for (row,) in connection.execute(f"SELECT row FROM held WHERE {condition} ORDER BY row").fetchall()]
    assert [row["row"] for row in answer(f"SELECT row FROM '{place}' WHERE {condition} ORDER BY row")] == expected
    assert sorted(open_table(place).scan(["row"], condition).to_arrow()["row"].to_pylist()) == expected
