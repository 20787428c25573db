"""What training sets are to be, line by line: tables, feature views over them, questions and their answers.

Each `Line` is one statement about point-in-time joins. The tests ask all of them of the lake in three formats; the benchmark of
what other stores get wrong asks them of those.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd
import pyarrow as pa
from feast import Entity, FeatureService, FeatureView, Field, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from tests.feast.worlds import SourceOf, World

UTC = dt.UTC
MICROSECOND = dt.timedelta(microseconds=1)
INSTANT = pa.timestamp("us", "UTC")


def at(clock: str, day: int = 1) -> dt.datetime:
    """The instant of ``clock`` (UTC) on a day of May 2024."""
    return dt.datetime.fromisoformat(f"2024-05-{day:02}T{clock}").replace(tzinfo=UTC)


def rows(types: Mapping[str, Any], *values: tuple[Any, ...]) -> pa.Table:
    """A table of ``values`` given row by row."""
    columns = list(zip(*values, strict=True)) if values else [()] * len(types)
    return pa.table({name: pa.array(column, kind) for (name, kind), column in zip(types.items(), columns, strict=True)})


STATS = rows(
    {"driver": pa.int64(), "event_timestamp": INSTANT, "created": INSTANT, "conv": pa.float64(), "trips": pa.int64()},
    (1, at("08:00"), at("08:05"), 0.1, 1),
    (1, at("10:00"), at("10:05"), 0.2, 2),
    (1, at("12:00"), at("12:05"), 0.3, 3),
    (2, at("10:00"), at("10:05"), 0.5, 5),
    (2, at("10:00"), at("10:20"), 0.6, 6),
    (2, at("10:00"), None, 0.7, 7),
    (3, at("09:00"), at("09:05"), 0.8, 8),
    (3, at("10:00"), at("10:05"), None, 9),
    (4, at("23:00"), at("23:05"), 4.0, 4),
    (5, at("01:00"), at("01:05"), 5.0, 5),
    (6, at("08:00"), at("08:05"), 6.0, 6),
    (7, at("10:00") + MICROSECOND, at("10:05"), 7.0, 7),
    (8, at("11:00"), at("12:50"), 1.0, 1),
    (8, at("11:30"), at("11:40"), 2.0, 2),
    (9, at("08:00"), at("08:10"), 1.0, 1),
    (9, at("09:00"), at("11:00"), 2.0, 2),
    (9, at("09:30"), None, 3.0, 3),
    (None, at("09:00"), at("09:05"), 9.9, 99),
)
PAIRS = rows(
    {"driver": pa.int64(), "city": pa.string(), "event_timestamp": INSTANT, "fare": pa.float64()},
    (1, "Ulm", at("09:00"), 11.0),
    (1, "Bonn", at("09:30"), 12.0),
    (2, "Ulm", at("09:00"), 21.0),
    (None, "Ulm", at("09:00"), 0.5),
    (1, None, at("09:00"), 0.25),
)
WEATHER = rows(
    {"place": pa.string(), "event_timestamp": INSTANT, "wind": pa.float64()},
    ("JFK", at("09:00"), 30.0), ("JFK", at("11:00"), 31.0), ("LAX", at("09:00"), 10.0), ("LAX", at("11:00"), 11.0),
)  # fmt: skip
FUEL = rows({"event_timestamp": INSTANT, "price": pa.float64()}, (at("08:00"), 1.5), (at("10:00"), 1.7))
MAPPED = rows(
    {"driver": pa.int64(), "t": INSTANT, "c": INSTANT, "x": pa.float64()},
    (1, at("09:00"), at("09:05"), 1.0), (1, at("09:00"), at("09:10"), 2.0), (1, at("11:00"), at("11:05"), 3.0),
)  # fmt: skip
NAIVE = rows(
    {"driver": pa.int64(), "event_timestamp": pa.timestamp("us"), "conv": pa.float64()},
    (1, at("09:00").replace(tzinfo=None), 1.0), (1, at("10:00").replace(tzinfo=None), 2.0),
)  # fmt: skip
NARROW = rows({"driver": pa.int32(), "event_timestamp": INSTANT, "rating": pa.float64()}, (1, at("09:00"), 4.5))
EMPTY = rows({"driver": pa.int64(), "event_timestamp": INSTANT, "nothing": pa.float64()})

TABLES = {
    "stats": STATS, "pairs": PAIRS, "weather": WEATHER, "fuel": FUEL, "mapped": MAPPED, "naive": NAIVE, "narrow": NARROW,
    "empty": EMPTY,
}  # fmt: skip


def number(name: str) -> Field:
    """A feature of floating point."""
    return Field(name=name, dtype=Float64)


DRIVER = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
CITY = Entity(name="city", join_keys=["city"], value_type=ValueType.STRING)
PLACE = Entity(name="place", join_keys=["place"], value_type=ValueType.STRING)
CONV, TRIPS = number("conv"), Field(name="trips", dtype=Int64)


def called(view: Any, name: str, keys: Mapping[str, str]) -> Any:
    """``view`` under another name, joined by other columns."""
    return view.with_name(name).with_join_key_map(dict(keys))


def definitions(source: SourceOf) -> list[Any]:
    """The views, one apply for all lines."""
    stats = source("stats", created_timestamp_column="created")

    def of_stats(name: str, ttl: dt.timedelta | None) -> FeatureView:
        return FeatureView(name=name, entities=[DRIVER], ttl=ttl, schema=[CONV, TRIPS], source=stats)

    forever = of_stats("stats", None)
    pairs = FeatureView(name="pairs", entities=[DRIVER, CITY], schema=[number("fare")], source=source("pairs"))
    weather = FeatureView(name="weather", entities=[PLACE], schema=[number("wind")], source=source("weather"))
    mapped = source(
        "mapped", timestamp_field="at", created_timestamp_column="made", field_mapping={"x": "score", "t": "at", "c": "made"}
    )
    routes = [called(weather, end, {"place": end}) for end in ("origin", "dest")]
    asked = RequestSource(name="asked", schema=[Field(name="bonus", dtype=Float64)])

    @on_demand_feature_view(sources=[forever, asked], schema=[number("total")], mode="pandas")
    def totals(inputs: pd.DataFrame) -> pd.DataFrame:
        return (inputs["conv"] + inputs["bonus"]).to_frame("total")

    return [
        DRIVER, CITY, PLACE, forever, of_stats("stats_zero", dt.timedelta(0)), of_stats("stats_2h", dt.timedelta(hours=2)),
        pairs, weather, totals,
        FeatureView(name="fuel", entities=[], schema=[number("price")], source=source("fuel")),
        FeatureView(name="mapped", entities=[DRIVER], schema=[number("score")], source=mapped),
        FeatureView(name="naive", entities=[DRIVER], schema=[CONV], source=source("naive")),
        FeatureView(name="narrow", entities=[DRIVER], schema=[number("rating")], source=source("narrow")),
        FeatureView(name="empty", entities=[DRIVER], schema=[number("nothing")], source=source("empty")),
        FeatureService(name="route", features=routes),
        FeatureService(name="training", features=[cast(Any, forever[["conv"]]), pairs]),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One statement: features of ``entity_rows``, a list of references or the name of a service, asked with ``options``.

    ``expected``: the columns of the answer that are compared, with their values in the order of the rows that were asked.
    """

    name: str
    entity_rows: Any
    features: Sequence[str] | str
    expected: Mapping[str, Sequence[Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    of_any_order: bool = False

    def ask(self, world: World) -> pa.Table:
        """The answer of a store."""
        asked = self.entity_rows.copy() if isinstance(self.entity_rows, pd.DataFrame) else self.entity_rows
        features = world.store.get_feature_service(self.features) if isinstance(self.features, str) else list(self.features)
        return world.historical(asked, features, **self.options)

    def wrong(self, answer: pa.Table) -> str | None:
        """What is wrong with ``answer``, in a few words; None where nothing is."""
        missing = [name for name in self.expected if name not in answer.column_names]
        if missing:
            return f"lacks the columns {', '.join(missing)}"
        got = list(zip(*(plain(answer[name]) for name in self.expected), strict=True))
        want = list(zip(*self.expected.values(), strict=True))
        if got == want:
            return None
        if sorted(got, key=repr) == sorted(want, key=repr):
            return None if self.of_any_order else "the rows, in another order"
        if len(got) != len(want):
            return f"{len(got)} rows of {len(want)}"
        return f"{got} and not {want}"


def plain(column: pa.ChunkedArray) -> list[Any]:
    """The values as Python has them: NaN, which frames make of NULL, as None, and times as instants of UTC."""
    values = column.to_pylist()
    return [None if value is None or value is pd.NaT or value != value else instant(value) for value in values]


def instant(value: Any) -> Any:
    """A time as a plain datetime of UTC; other values as they are."""
    if isinstance(value, pd.Timestamp):
        value = value.to_pydatetime()
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


def frame(**columns: Any) -> pd.DataFrame:
    """Entity rows; ``t`` is short for event_timestamp."""
    if "t" in columns:
        columns["event_timestamp"] = columns.pop("t")
    return pd.DataFrame(columns)


def drivers(*asked: tuple[Any, dt.datetime]) -> pd.DataFrame:
    """Entity rows of (driver, time). Pandas has no NULL of its integers, so its nullable ones are taken."""
    return frame(driver=pd.array([key for key, _ in asked], "Int64"), t=pd.to_datetime([time for _, time in asked], utc=True))


TEN = at("10:00")
BERLIN = dt.timezone(dt.timedelta(hours=2))
ONE_STAT = ("stats:conv", "stats:trips")
LINES: tuple[Line, ...] = (
    Line(
        "the newest row at or before the time is taken",
        drivers((1, TEN), (1, TEN - MICROSECOND), (1, at("11:59")), (1, at("13:00"))),
        ONE_STAT, {"conv": [0.2, 0.1, 0.2, 0.3], "trips": [2, 1, 2, 3]},
    ),
    Line(
        "rows come out as many and in the order in which they went in, with their other columns",
        frame(driver=[2, 1, 77, 1], t=[TEN, at("13:00"), TEN, at("08:00")], label=["a", "b", "c", "d"]),
        ["stats:conv"],
        {"label": ["a", "b", "c", "d"], "driver": [2, 1, 77, 1], "event_timestamp": [TEN, at("13:00"), TEN, at("08:00")],
         "conv": [0.6, 0.3, None, 0.1]},
    ),
    Line(
        "a row whose features have expired stays, with NULL",
        drivers((1, TEN), (5, TEN)), ["stats_2h:conv"], {"driver": [1, 5], "conv": [0.2, None]},
    ),
    Line(
        "a row whose features are only in the future stays, with NULL",
        drivers((4, TEN), (1, TEN)), ["stats:conv"], {"driver": [4, 1], "conv": [None, 0.2]},
    ),
    Line(
        "a row whose key is unknown stays, with NULL",
        drivers((77, TEN), (1, TEN)), ["stats:conv"], {"driver": [77, 1], "conv": [None, 0.2]},
    ),
    Line(
        "two rows of one key and time both stay",
        frame(driver=[1, 1], t=[TEN, TEN], label=[0, 1]), ["stats:conv"], {"label": [0, 1], "conv": [0.2, 0.2]},
    ),
    Line("identical rows both stay", drivers((1, TEN), (1, TEN)), ["stats:conv"], {"driver": [1, 1], "conv": [0.2, 0.2]}),
    Line("a row just within its ttl counts", drivers((6, TEN)), ["stats_2h:conv"], {"conv": [6.0]}),
    Line("a row a microsecond past its ttl does not", drivers((6, TEN + MICROSECOND)), ["stats_2h:conv"], {"conv": [None]}),
    Line("a ttl of nothing has no end", drivers((5, at("10:00", 30))), ["stats:conv"], {"conv": [5.0]}),
    Line("a ttl of zero has no end", drivers((5, at("10:00", 30))), ["stats_zero:conv"], {"conv": [5.0]}),
    Line(
        "each view has a ttl of its own",
        drivers((1, at("23:30"))), ["stats:conv", "stats_2h:trips"], {"conv": [0.3], "trips": [None]},
    ),
    Line(
        "of rows of one event time the one created last is taken, and no created time loses",
        drivers((2, TEN)), ONE_STAT, {"conv": [0.6], "trips": [6]},
    ),
    Line(
        "a row without a key stays, and matches no row without a key",
        drivers((None, TEN), (1, TEN)), ["stats:conv"], {"driver": [None, 1], "conv": [None, 0.2]},
    ),
    Line(
        "a NULL in the newest row is NULL, and not the last value before it",
        drivers((3, TEN)), ONE_STAT, {"conv": [None], "trips": [9]},
    ),
    Line(
        "a row a microsecond too late is not taken",
        drivers((7, TEN), (7, TEN + MICROSECOND)), ["stats:conv"], {"conv": [None, 7.0]},
    ),
    Line(
        "times of no zone mean UTC",
        frame(driver=[1, 1], t=[dt.datetime(2024, 5, 1, 10), dt.datetime(2024, 5, 1, 9, 59)]), ["stats:conv"],
        {"conv": [0.2, 0.1]},
    ),
    Line(
        "times of a zone are instants",
        frame(driver=[1, 1], t=[dt.datetime(2024, 5, 1, 12, tzinfo=BERLIN), dt.datetime(2024, 5, 1, 11, 59, tzinfo=BERLIN)]),
        ["stats:conv"], {"conv": [0.2, 0.1]},
    ),
    Line(
        "times as text are taken",
        frame(driver=[1, 1], t=["2024-05-01T10:00:00+00:00", "2024-05-01T11:59:59.999999+02:00"]), ["stats:conv"],
        {"conv": [0.2, 0.1]},
    ),
    Line(
        "times as text of no zone mean UTC",
        frame(driver=[1, 1], t=["2024-05-01 10:00:00", "2024-05-01T09:59:59"]), ["stats:conv"], {"conv": [0.2, 0.1]},
    ),
    Line("sources of no zone mean UTC", drivers((1, TEN), (1, TEN - MICROSECOND)), ["naive:conv"], {"conv": [2.0, 1.0]}),
    Line(
        "the one column of times is the event time whatever its name",
        frame(driver=[1], seen=pd.to_datetime([TEN])), ["stats:conv"], {"conv": [0.2], "seen": [TEN]},
    ),
    Line(
        "rows of several keys match by all of them, and no NULL in one",
        frame(driver=pd.array([1, 1, 2, None, 1], "Int64"), city=["Ulm", "Bonn", "Bonn", "Ulm", None], t=[TEN] * 5),
        ["pairs:fare"], {"fare": [11.0, 12.0, None, None, None]},
    ),
    Line(
        "features without an entity are of the time alone",
        drivers((1, at("09:00")), (77, TEN), (None, at("07:00"))), ["fuel:price", "stats:conv"],
        {"price": [1.5, 1.7, None], "conv": [0.1, None, None]},
    ),
    Line(
        "views of different keys join one set of rows",
        frame(driver=[1, 2], city=["Ulm", "Ulm"], t=[TEN, TEN]),
        ["stats:conv", "pairs:fare", "fuel:price"], {"conv": [0.2, 0.6], "fare": [11.0, 21.0], "price": [1.7, 1.7]},
    ),
    Line(
        "one name in two views is told apart by full names",
        drivers((1, TEN)), ["stats:conv", "naive:conv"], {"stats__conv": [0.2], "naive__conv": [2.0]},
        {"full_feature_names": True},
    ),
    Line(
        "columns that a source calls otherwise are mapped, times too",
        drivers((1, TEN), (1, at("12:00"))), ["mapped:score"], {"score": [2.0, 3.0]},
    ),
    Line(
        "one view under two names joins by other columns",
        frame(origin=["JFK", "LAX"], dest=["LAX", "JFK"], t=[TEN, at("11:00")]),
        "route", {"origin__wind": [30.0, 11.0], "dest__wind": [10.0, 31.0]}, {"full_feature_names": True},
    ),
    Line(
        "a feature service asks for just what it lists",
        frame(driver=[1], city=["Bonn"], t=[TEN]), "training", {"conv": [0.2], "fare": [12.0]},
    ),
    Line(
        "a feature on demand is made from features and from the row",
        frame(driver=[1, 3], bonus=[1.0, 1.0], t=[TEN, TEN]), ["totals:total", "stats:trips"],
        {"total": [1.2, None], "trips": [2, 9]},
    ),
    Line(
        "a feature on demand may be asked for alone",
        frame(driver=[1], bonus=[1.0], t=[TEN]), ["totals:total"], {"total": [1.2], "bonus": [1.0]},
    ),
    Line("keys of 64 bits match those of 32", frame(driver=[1, 2**40], t=[TEN, TEN]), ["narrow:rating"], {"rating": [4.5, None]}),
    Line(
        "keys of 32 bits match those of 64",
        frame(driver=pd.Series([1], dtype="int32"), t=[TEN]), ["stats:conv"], {"conv": [0.2]},
    ),
    Line(
        "keys that are fractions for want of one are whole again",
        frame(driver=[1.0, float("nan"), 2.0], t=[TEN] * 3), ["stats:conv"], {"conv": [0.2, None, 0.6]},
    ),
    Line("a table without rows has features of NULL", drivers((1, TEN)), ["empty:nothing"], {"driver": [1], "nothing": [None]}),
    Line("no rows are asked, none come", drivers(), ["stats:conv", "empty:nothing"], {"driver": [], "conv": [], "nothing": []}),
    Line(
        "what was not known at the time is left out when created times are asked for",
        drivers((9, TEN), (9, at("11:00")), (9, at("08:05"))), ["stats:conv"], {"conv": [1.0, 2.0, None]},
        {"filter_by_created_timestamp": True},
    ),
    Line(
        "of what was known at the time the newest event counts, and not what was made last",
        drivers((8, at("13:00")), (8, at("12:50")), (8, at("11:39"))), ["stats:conv"], {"conv": [2.0, 2.0, None]},
        {"filter_by_created_timestamp": True},
    ),
    Line(
        "created times decide before the ttl does",
        drivers((9, TEN), (9, at("10:11"))), ["stats_2h:conv"], {"conv": [1.0, None]}, {"filter_by_created_timestamp": True},
    ),
    Line("without it created times only break ties", drivers((9, TEN)), ["stats:conv"], {"conv": [3.0]}),
    Line(
        "a view without created times is not filtered by them",
        drivers((1, TEN)), ["naive:conv"], {"conv": [2.0]}, {"filter_by_created_timestamp": True},
    ),
    Line(
        "names are told apart by case",
        frame(driver=[1], Driver=[2], t=[TEN], CONV=["kept"]), ["stats:conv"],
        {"driver": [1], "Driver": [2], "CONV": ["kept"], "conv": [0.2]},
    ),
    Line(
        "names may hold anything",
        frame(driver=[1], t=[TEN], **{'a "quoted" name; --': [1], "select": [2], "f0": [3], "row": [4], "__row": [5]}),
        ["stats:conv"],
        {'a "quoted" name; --': [1], "select": [2], "f0": [3], "row": [4], "__row": [5], "conv": [0.2]},
    ),
    Line(
        "rows as Arrow are taken",
        pa.table({"driver": [1, 2], "event_timestamp": pa.array([TEN, TEN], INSTANT)}), ["stats:conv"],
        {"driver": [1, 2], "conv": [0.2, 0.6]},
    ),
    Line(
        "rows may be asked for in SQL over datasets",
        "SELECT driver, event_timestamp + INTERVAL 1 HOUR AS event_timestamp, trips * 10 AS label FROM stats WHERE driver = 1",
        ["stats_2h:conv"], {"driver": [1, 1, 1], "label": [10, 20, 30], "conv": [0.1, 0.2, 0.3]}, of_any_order=True,
    ),
    Line(
        "rows asked for in SQL come in its order",
        "SELECT driver, event_timestamp FROM stats WHERE driver = 1 ORDER BY event_timestamp DESC", ["stats:trips"],
        {"trips": [3, 2, 1]},
    ),
    Line(
        "dates ask for each key and time that there is between them, as of then",
        None, ["stats:conv"],
        {"driver": [1, 2, 3, 6, 9, 9, 9, 1, 3], "event_timestamp": [at("08:00"), TEN, TEN, at("08:00"), at("08:00"),
                             at("09:00"), at("09:30"), TEN, at("09:00")],
         "conv": [0.1, 0.6, None, 6.0, 1.0, 2.0, 3.0, 0.2, 0.8]},
        {"start_date": at("08:00"), "end_date": TEN}, of_any_order=True,
    ),
)  # fmt: skip
