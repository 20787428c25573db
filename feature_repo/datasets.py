"""The five feature datasets and the departures to learn from: each row stands at the instant when its fact was known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from lakehouse import Lake

__all__ = ["DATASETS", "WRITTEN_AS", "build", "tables"]

WRITTEN_AS = "parquet"

# How late a carrier's flights arrive; an hour is known when it is over.
_CARRIER_DELAYS = """
WITH hours AS (
    SELECT carrier, date_trunc('hour', arrived) + INTERVAL 1 HOUR AS known,
        count(*) AS arrivals, sum(arr_delay) AS delay, count(*) FILTER (arr_delay > 15) AS late
    FROM flights WHERE arrived IS NOT NULL GROUP BY ALL
)
SELECT carrier, known AS event_timestamp,
    CAST(sum(arrivals) OVER day AS BIGINT) AS arrivals_24h,
    sum(delay) OVER day / sum(arrivals) OVER day AS arrival_delay_24h,
    sum(late) OVER day / sum(arrivals) OVER day AS late_share_24h,
    sum(delay) OVER now / sum(arrivals) OVER now AS arrival_delay_3h,
    sum(late) OVER now / sum(arrivals) OVER now AS late_share_3h
FROM hours WINDOW
    day AS (PARTITION BY carrier ORDER BY known RANGE BETWEEN INTERVAL 23 HOUR PRECEDING AND CURRENT ROW),
    now AS (PARTITION BY carrier ORDER BY known RANGE BETWEEN INTERVAL 2 HOUR PRECEDING AND CURRENT ROW)
"""

# What waits at an airport and what just left it, every quarter of an hour. A flight waits until it leaves, at most for three
# hours: whether it is cancelled in the end is not known by then.
_ORIGIN_CONGESTION = """
WITH standing AS (
    SELECT origin, scheduled, departed, unnest(generate_series(
        time_bucket(INTERVAL 15 MINUTE, scheduled) + INTERVAL 15 MINUTE,
        least(departed, scheduled + INTERVAL 3 HOUR), INTERVAL 15 MINUTE)) AS known
    FROM flights
),
waiting AS (
    SELECT origin, known, count(*) AS waiting, avg(date_diff('minute', scheduled, known)) AS waited
    FROM standing WHERE departed IS NULL OR known < departed GROUP BY ALL
),
gone AS (
    SELECT origin, time_bucket(INTERVAL 15 MINUTE, departed) + INTERVAL 15 MINUTE AS known,
        count(*) AS departures, sum(dep_delay) AS delay, count(*) FILTER (dep_delay > 15) AS late
    FROM flights WHERE departed IS NOT NULL GROUP BY ALL
)
SELECT origin, known AS event_timestamp,
    CAST(coalesce(waiting, 0) AS BIGINT) AS waiting, coalesce(waited, 0) AS minutes_waited,
    CAST(coalesce(sum(departures) OVER hour, 0) AS BIGINT) AS departures_1h,
    sum(delay) OVER hour / sum(departures) OVER hour AS departure_delay_1h,
    sum(late) OVER hour / sum(departures) OVER hour AS departed_late_share_1h
FROM gone FULL JOIN waiting USING (origin, known) WINDOW
    hour AS (PARTITION BY origin ORDER BY known RANGE BETWEEN INTERVAL 45 MINUTE PRECEDING AND CURRENT ROW)
"""

# An hour's weather is known when the hour is over.
_ORIGIN_WEATHER = """
SELECT origin, time_hour + INTERVAL 1 HOUR AS event_timestamp, temp, dewp, humid, wind_speed, precip, pressure, visib
FROM weather
"""

# How a plane's flights from New York went; known when it arrives.
_PLANE_LEGS = """
SELECT tailnum, arrived AS event_timestamp, dep_delay AS last_departure_delay, arr_delay AS last_arrival_delay,
    air_time AS last_air_time, count(*) OVER two_days AS legs_2d, avg(arr_delay) OVER two_days AS leg_delay_2d
FROM flights WHERE tailnum IS NOT NULL AND arrived IS NOT NULL WINDOW
    two_days AS (PARTITION BY tailnum ORDER BY arrived RANGE BETWEEN INTERVAL 2 DAY PRECEDING AND CURRENT ROW)
"""

_PLANE_PROFILE = """
SELECT tailnum, TIMESTAMPTZ '2013-01-01 00:00:00+00' AS event_timestamp, year AS built, seats, engines
FROM planes
"""

# What is asked: one row a flight that arrived, at the instant of its scheduled departure.
_DEPARTURES = """
SELECT flight_id, scheduled AS event_timestamp,
    (isodow(scheduled_local) - 1) * 1440 + hour(scheduled_local) * 60 + minute(scheduled_local) AS minute_of_week,
    carrier, origin, tailnum, distance, CAST(arr_delay > 15 AS BIGINT) AS late
FROM flights WHERE arr_delay IS NOT NULL
"""

_FEATURES = {
    "carrier_delays": _CARRIER_DELAYS,
    "origin_congestion": _ORIGIN_CONGESTION,
    "origin_weather": _ORIGIN_WEATHER,
    "plane_legs": _PLANE_LEGS,
    "plane_profile": _PLANE_PROFILE,
}

DATASETS = (*_FEATURES, "departures")


def tables(flights: duckdb.DuckDBPyConnection) -> dict[str, pa.Table]:
    """The rows of every dataset, sorted by time, from what `feature_repo.flights.connect` gives.

    Features have ``event_timestamp``, when the fact was known, and ``created``, a minute later, when a pipeline wrote it down.
    """
    found = {
        name: flights.sql(text).project("*, event_timestamp + INTERVAL 1 MINUTE AS created").order("event_timestamp, 1")
        for name, text in _FEATURES.items()
    }
    found["departures"] = flights.sql(_DEPARTURES).order("flight_id")
    return {name: relation.to_arrow_table() for name, relation in found.items()}


def build(lake: Lake, rows: dict[str, pa.Table]) -> None:
    """Write every dataset where lake.toml says that it lies."""
    for name, table in rows.items():
        lake.create_dataset(name, table.schema).append(table)
