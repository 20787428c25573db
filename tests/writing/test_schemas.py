"""The columns of new tables: how each Arrow type is stored, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.connect import open_store
from lakehouse.errors import Config, Unsupported
from lakehouse.tables import open_table
from lakehouse.writing import delta, iceberg, parquet
from lakehouse.writing.rows import fitting
from lakehouse.writing.schemas import delta_schema, iceberg_schema, parquet_schema

STORED = (
    (pa.int8(), pa.int8(), pa.int32()),
    (pa.int64(), pa.int64(), pa.int64()),
    (pa.timestamp("ns"), pa.timestamp("us"), pa.timestamp("us")),
    (pa.timestamp("s", "Europe/Berlin"), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    (pa.date64(), pa.date32(), pa.date32()),
    (pa.large_string(), pa.string(), pa.string()),
    (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
    (pa.decimal256(20, 2), pa.decimal128(20, 2), pa.decimal128(20, 2)),
    (pa.time32("ms"), None, pa.time64("us")),
    (pa.binary(4), pa.binary(), pa.binary(4)),
    (pa.uint8(), None, None),
    (pa.float16(), None, None),
    (pa.decimal256(40, 2), None, None),
    (pa.duration("us"), None, None),
    (pa.null(), None, None),
)


@pytest.mark.parametrize(("given", "in_delta", "in_iceberg"), STORED)
def test_each_type_is_stored_as_the_format_has_it_or_refused_by_name(given: Any, in_delta: Any, in_iceberg: Any) -> None:
    nested = pa.struct([pa.field("x", pa.list_(pa.field("element", given)), nullable=False)])
    for stored, wanted in ((delta_schema, in_delta), (iceberg_schema, in_iceberg)):
        if wanted is None:
            for name, kind in (("c", given), ("c.x.element", nested)):
                with pytest.raises(Unsupported, match=f"column '{name}'"):
                    stored(pa.schema([("c", kind)]), "t")
            continue
        assert stored(pa.schema([("c", given)]), "t").field("c").type == wanted
        found = stored(pa.schema([("c", nested)]), "t").field("c").type.field("x")
        assert (found.nullable, found.type.value_type) == (False, wanted)


def test_parquet_keeps_its_types_but_those_of_folders() -> None:
    schema = pa.schema([("n", pa.timestamp("ns", "Asia/Tokyo")), ("i", pa.int8()), ("d", pa.date32()), ("s", pa.large_string())])
    assert parquet_schema(schema, "t") == schema
    assert parquet_schema(schema, "t", ["i", "d", "s"]).types == [
        pa.timestamp("ns", "Asia/Tokyo"),
        pa.int64(),
        pa.date32(),
        pa.string(),
    ]
    with pytest.raises(Unsupported, match="column 'n'"):
        parquet_schema(schema, "t", ["n"])


def test_parquet_states_what_its_files_give_back_so_that_rows_of_the_stated_schema_are_taken(tmp_path: Path) -> None:
    seconds = pa.timestamp("s", "UTC")
    given = pa.schema([("s", seconds), ("d", pa.date64()), ("t", pa.time32("s")), ("l", pa.list_(pa.struct([("s", seconds)])))])
    store = open_store(str(tmp_path / "t"))
    parquet.create(store, given)
    stated = open_table(str(tmp_path / "t"), format="parquet").schema()
    assert stated.types[:3] == [pa.timestamp("ms", "UTC"), pa.date32(), pa.time32("ms")]
    row = {"s": 1, "d": 2, "t": 3000, "l": [{"s": 4}]}
    parquet.append(store, lambda schema: fitting(pa.Table.from_pylist([row], stated), schema, "t"))
    assert open_table(str(tmp_path / "t"), format="parquet").scan().to_arrow() == pa.Table.from_pylist([row], stated)


def test_a_type_that_parquet_lacks_is_refused() -> None:
    with pytest.raises(Unsupported, match="run_end_encoded"):
        parquet_schema(pa.schema([("r", pa.run_end_encoded(pa.int32(), pa.string()))]), "t")


@pytest.mark.parametrize("stored", [delta_schema, iceberg_schema, parquet_schema])
def test_names_that_engines_take_for_one_and_no_columns_at_all_are_refused(stored: Any) -> None:
    for names in ((), ("a", "A"), ("a", "a"), ("",)):
        with pytest.raises(Config):
            stored(pa.schema([(name, pa.int64()) for name in names]), "t")


@pytest.mark.parametrize("partitioned", [False, True])
@pytest.mark.parametrize("kind", ["delta", "iceberg", "parquet"])
def test_columns_of_odd_names_are_written_and_read(tmp_path: Path, kind: str, partitioned: bool) -> None:
    names = ["two words", "v1.0", "ünï", "a/b", "100%", "x=y" if kind != "parquet" else "xy"]
    store = open_store(str(tmp_path / "t"))
    module: Any = {"delta": delta, "iceberg": iceberg, "parquet": parquet}[kind]
    place: Any = iceberg.ByPath(store) if kind == "iceberg" else store
    module.create(place, pa.schema([(name, pa.string()) for name in names]), names[:2] if partitioned else ())
    table = pa.table({name: [f"value of {name}", None] for name in names})
    module.append(place, lambda schema: fitting(table, schema, "t"))
    found = open_table(str(tmp_path / "t"), format=kind).scan().to_arrow().select(names)
    assert sorted(found.to_pylist(), key=str) == sorted(table.to_pylist(), key=str)
