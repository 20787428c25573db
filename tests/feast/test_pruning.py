"""Only files that can hold an answer are read: here those that cannot are damaged or gone, which whoever reads them would say."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.errors import NotFound
from tests.feast.lines import INSTANT, TEN, at, drivers
from tests.feast.serving import conv_view, newest
from tests.feast.worlds import LAKE_KINDS, Kind, World, made

pytestmark = pytest.mark.xdist_group("feast-writing")
DAYS = range(1, 6)


def day(number: int) -> pa.Table:
    """One row a day, known in the morning."""
    return pa.table(
        {
            "driver": [1],
            "event_timestamp": pa.array([at("08:00", number)], INSTANT),
            "day": [dt.date(2024, 5, number)],
            "conv": [float(number)],
        }
    )


def with_a_file_a_day(folder: Path, kind: Kind, ttl: dt.timedelta | None, **options: Any) -> World:
    """A dataset of five files, of a day each. ``options`` of the source, and ``partition_by``."""
    by = options.pop("partition_by", ())
    world = made(folder, kind, {"stats": day(1).slice(0, 0)}, conv_view(ttl, **options), partition_by=by)
    for number in DAYS:
        world.lake["stats"].append(day(number))
    return world


def lose(world: World, *days: int) -> None:
    """Makes the rows of the files of those days unreadable. Their footers stay, since Parquet has its statistics there."""
    files = [path for path in (world.folder / "data" / "stats").rglob("*.parquet") if path.stat().st_size and holds(path, days)]
    assert len(files) == len(days)
    for path in files:
        held = bytearray(path.read_bytes())
        length = int.from_bytes(held[-8:-4], "little")
        held[4 : len(held) - 8 - length] = b"\xff" * (len(held) - 12 - length)
        path.write_bytes(held)


def holds(path: Path, days: tuple[int, ...]) -> bool:
    """Whether a file is of one of those days."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        values = file.read(["conv"])["conv"].to_pylist()
    return any(float(number) in values for number in days)


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_a_training_set_reads_from_its_oldest_row_less_the_ttl_to_its_newest(tmp_path: Path, kind: Kind) -> None:
    world = with_a_file_a_day(tmp_path, kind, dt.timedelta(days=1))
    lose(world, 1, 4, 5)

    asked = drivers((1, at("10:00", 3)), (1, at("23:00", 3)), (1, at("09:00", 4) - dt.timedelta(hours=2)))
    assert world.historical(asked, ["stats:conv"])["conv"].to_pylist() == [3.0, 3.0, 3.0]
    with pytest.raises(NotFound):
        world.historical(drivers((1, at("08:00", 4))), ["stats:conv"])


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_a_training_set_without_ttl_reads_nothing_of_the_future(tmp_path: Path, kind: Kind) -> None:
    world = with_a_file_a_day(tmp_path, kind, None)
    lose(world, 4, 5)

    assert world.historical(drivers((1, at("07:59", 4))), ["stats:conv"])["conv"].to_pylist() == [3.0]
    with pytest.raises(NotFound):
        world.historical(drivers((1, at("08:00", 4))), ["stats:conv"])


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_a_materialization_reads_its_range(tmp_path: Path, kind: Kind) -> None:
    world = with_a_file_a_day(tmp_path, kind, None)
    lose(world, 1, 2, 5)

    assert newest(world, "stats", ["conv"], at("08:00", 3), at("08:00", 4)) == {1: (4.0,)}
    with pytest.raises(NotFound):
        newest(world, "stats", ["conv"], at("08:00", 2), at("08:00", 4))


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_the_partition_of_days_gets_the_same_bounds(tmp_path: Path, kind: Kind) -> None:
    world = with_a_file_a_day(
        tmp_path,
        kind,
        dt.timedelta(days=1),
        date_partition_column="day",
        partition_by=("day",),
        timestamp_field="event_timestamp",
    )
    lose(world, 1, 4, 5)

    assert world.historical(drivers((1, at("10:00", 3)), (1, at("07:00", 3))), ["stats:conv"])["conv"].to_pylist() == [3.0, 2.0]
    assert newest(world, "stats", ["conv"], at("00:00", 2), at("23:00", 3)) == {1: (3.0,)}


@pytest.mark.parametrize("stated", [pa.date32(), pa.string()], ids=["days", "text"])
def test_a_partition_of_days_may_be_text_and_decides_without_times(tmp_path: Path, stated: pa.DataType) -> None:
    """The partition of day 9 holds a row of day 3, which a query of day 3 does not look for: days may be of any zone, so those of
    day 2 and day 4 count too, but not more.
    """
    table = pa.concat_tables([day(number) for number in (1, 3)])
    misplaced = day(3).set_column(2, "day", pa.array([dt.date(2024, 5, 9)])).set_column(3, "conv", pa.array([9.0]))
    table = pa.concat_tables([table, misplaced])
    table = table.set_column(2, "day", table["day"].cast(stated))
    view = conv_view(dt.timedelta(hours=1), date_partition_column="day")
    world = made(tmp_path, "delta", {"stats": table}, view, partition_by=["day"])

    assert world.historical(drivers((1, at("08:30", 3))), ["stats:conv"])["conv"].to_pylist() == [3.0]
    assert world.historical(drivers((1, TEN)), ["stats:conv"])["conv"].to_pylist() == [None]


@pytest.mark.parametrize("written", ["2024-05-03-08", "2024-05-03T08:00:00Z", "20240503", "03/05/2024", None])
def test_a_partition_of_text_of_any_form_loses_no_row(tmp_path: Path, written: str | None) -> None:
    table = day(3).set_column(2, "day", pa.array([written], pa.string()))
    world = made(tmp_path, "delta", {"stats": table}, conv_view(date_partition_column="day"), partition_by=["day"])

    assert world.historical(drivers((1, TEN.replace(day=3)), (1, TEN.replace(day=30))), ["stats:conv"])["conv"].to_pylist() == [
        3.0,
        3.0,
    ]
