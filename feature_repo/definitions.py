"""What may be known of a flight when it is about to leave: `feast apply` registers this. No line says where anything lies."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, Project, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from lakehouse_connectors.feast import LakeSource

flights = Project(name="flights", description="Will a flight that is about to leave New York arrive late?")

carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING, description="An airline's two letters")
origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING, description="EWR, JFK or LGA")
plane = Entity(name="plane", join_keys=["tailnum"], value_type=ValueType.STRING, description="A plane, by its tail number")


def source(dataset: str) -> LakeSource:
    """A dataset of lake.toml, with the columns that all of them have."""
    return LakeSource(dataset=dataset, timestamp_field="event_timestamp", created_timestamp_column="created")


carrier_delays = FeatureView(
    name="carrier_delays",
    description="How late the carrier's flights from New York arrived in the last hours",
    entities=[carrier],
    ttl=timedelta(hours=24),
    schema=[
        Field(name="arrivals_24h", dtype=Int64),
        Field(name="arrival_delay_24h", dtype=Float64),
        Field(name="late_share_24h", dtype=Float64),
        Field(name="arrival_delay_3h", dtype=Float64),
        Field(name="late_share_3h", dtype=Float64),
    ],
    source=source("carrier_delays"),
)

origin_congestion = FeatureView(
    name="origin_congestion",
    description="What waits at the airport, and how late the last departures were",
    entities=[origin],
    ttl=timedelta(hours=3),
    schema=[
        Field(name="waiting", dtype=Int64),
        Field(name="minutes_waited", dtype=Float64),
        Field(name="departures_1h", dtype=Int64),
        Field(name="departure_delay_1h", dtype=Float64),
        Field(name="departed_late_share_1h", dtype=Float64),
    ],
    source=source("origin_congestion"),
)

origin_weather = FeatureView(
    name="origin_weather",
    description="The weather at the airport",
    entities=[origin],
    ttl=timedelta(hours=3),
    schema=[Field(name=name, dtype=Float64) for name in ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")],
    source=source("origin_weather"),
)

plane_legs = FeatureView(
    name="plane_legs",
    description="How the plane's last flights from New York went",
    entities=[plane],
    ttl=timedelta(days=2),
    schema=[
        Field(name="last_departure_delay", dtype=Int64),
        Field(name="last_arrival_delay", dtype=Int64),
        Field(name="last_air_time", dtype=Int64),
        Field(name="legs_2d", dtype=Int64),
        Field(name="leg_delay_2d", dtype=Float64),
    ],
    source=source("plane_legs"),
)

plane_profile = FeatureView(
    name="plane_profile",
    description="The plane itself, which does not change",
    entities=[plane],
    ttl=timedelta(0),
    schema=[Field(name=name, dtype=Int64) for name in ("built", "seats", "engines")],
    source=source("plane_profile"),
)


@on_demand_feature_view(
    sources=[RequestSource(name="departure", schema=[Field(name="minute_of_week", dtype=Int64)])],
    schema=[Field(name="hour", dtype=Int64), Field(name="weekday", dtype=Int64)],
    mode="pandas",
    description="What New York's clock shows at the scheduled departure; the week begins on Monday",
)
def clock(departures: pd.DataFrame) -> pd.DataFrame:
    """The hour of the day, and the day of the week from Monday = 0."""
    import pandas as pd

    minute = departures["minute_of_week"]
    return pd.DataFrame({"hour": minute % 1440 // 60, "weekday": minute // 1440})


lateness = FeatureService(
    name="lateness",
    description="Will the flight arrive more than 15 minutes late?",
    features=[carrier_delays, origin_congestion, origin_weather, plane_legs, plane_profile, clock],
)
