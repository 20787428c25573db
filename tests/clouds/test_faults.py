"""A sync through a network that fails: at named requests, in storms, for good. Run again, and the replica is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

import lakehouse
from lakehouse.config import load
from lakehouse.errors import LakeError, Transfer
from lakehouse.testing.servers import FaultProxy, Rule, SeaweedServer
from tests.clouds.conftest import Lake, store_table
from tests.sync.places import append, contents, dump, ids


@pytest.fixture(scope="module")
def proxy(seaweed: SeaweedServer) -> Iterator[FaultProxy]:
    seaweed.make_bucket("through-the-proxy")
    with FaultProxy(seaweed.endpoint_url) as running:
        yield running


@pytest.fixture
def place(lake: Lake, key: str, proxy: FaultProxy, seaweed: SeaweedServer) -> str:
    """A place on the S3 server that is reached through the proxy."""
    proxy.clear()
    settings = lake.folder / "lake.toml"
    options = {"endpoint_url": proxy.endpoint_url, "key": seaweed.key, "secret": seaweed.secret, "provider": "seaweedfs"}
    table = store_table("faulty", url="s3://through-the-proxy", **options) + "timeout = 2.0\n"
    direct = store_table("direct", **{**options, "url": "s3://through-the-proxy", "endpoint_url": seaweed.endpoint_url})
    settings.write_text(f"{settings.read_text()}\n{table}\n{direct}")
    return f"faulty:{key}/t"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    append(tmp_path / "table", 0, commits=3)
    DeltaTable(str(tmp_path / "table")).create_checkpoint()
    return tmp_path / "table"


def sync(lake: Lake, source: str, target: str, *, retries: int | None = None) -> lakehouse.SyncResult:
    return lakehouse.sync(source, target, retries=retries, settings=load(lake.folder / "lake.toml"))


def rows_at(lake: Lake, place: str, folder: Path) -> list[int] | None:
    """What deltalake reads there now, past the proxy; None where it finds no table it can open."""
    try:
        return ids(dump(lake.store(place.replace("faulty:", "direct:")), folder))
    except DeltaError:
        return None


POINTS = {
    "first data put": r"part-.*parquet",
    "last metadata put": r"_last_checkpoint",
    "checkpoint": r"checkpoint\.parquet",
    "staged commit": r"00000000000000000002\.json",
    "inventory": r"receipts/.*zst",
    "receipt": r"receipts/\d+\.json",
    "root": r"_delta_log/00000000000000000000\.json",
    "latest": r"latest\.json",
}


@pytest.mark.parametrize("fault", ["status", "lose_reply"])
@pytest.mark.parametrize("point", POINTS)
def test_a_sync_that_fails_at_a_named_put_shows_nothing_or_all_and_the_next_completes_it(
    lake: Lake, place: str, proxy: FaultProxy, table: Path, point: str, fault: str, tmp_path: Path
) -> None:
    proxy.rules.append(Rule(fault, method="PUT", path=POINTS[point], times=1))  # type: ignore[arg-type]
    if fault == "status":
        with pytest.raises(LakeError):
            sync(lake, str(table), place, retries=0)
    else:  # a lost reply to a conditional put is settled by a look
        with suppress(LakeError):
            sync(lake, str(table), place, retries=0)
    assert rows_at(lake, place, tmp_path / "seen") in (None, list(range(30)))
    sync(lake, str(table), place)
    assert contents(lake.store(place)) == contents(lake.store(str(table)))
    assert lakehouse.verify(place, settings=load(lake.folder / "lake.toml")).ok
    assert sync(lake, str(table), place).unchanged


def test_an_update_in_a_storm_of_503_ends_well(lake: Lake, place: str, proxy: FaultProxy, table: Path) -> None:
    proxy.rules.append(Rule("status", times=None, chance=0.2))
    sync(lake, str(table), place)
    append(table, 30)
    sync(lake, str(table), place)
    proxy.clear()
    assert contents(lake.store(place)) == contents(lake.store(str(table)))


@pytest.mark.parametrize("fault", ["cut_request", "cut_response", "lose_reply", "stall"])
def test_a_link_that_fails_now_and_then_costs_only_time(
    lake: Lake, place: str, proxy: FaultProxy, table: Path, fault: str, tmp_path: Path
) -> None:
    proxy.rules.append(Rule(fault, times=3, skip=6, after=3))  # type: ignore[arg-type]
    sync(lake, str(table), place)
    sync(lake, place, str(tmp_path / "back"))
    proxy.clear()
    assert contents(lake.store(str(tmp_path / "back"))) == contents(lake.store(str(table)))


def test_a_truncated_source_object_with_status_200_is_never_taken_for_the_whole(
    lake: Lake, place: str, proxy: FaultProxy, table: Path, tmp_path: Path
) -> None:
    """Trap Object stores 15: the server's own Content-Length agrees with the truncated body."""
    sync(lake, str(table), place)
    proxy.rules.append(Rule("truncate", method="GET", path=r"part-.*parquet", after=100))
    with pytest.raises(Transfer, match="not the whole object"):
        sync(lake, place, str(tmp_path / "back"))
    assert rows_at(lake, str(tmp_path / "back"), tmp_path / "seen") is None
    sync(lake, place, str(tmp_path / "back"))
    assert ids(tmp_path / "back") == list(range(30))


def test_credentials_that_expire_midway_are_told_and_a_later_run_continues(
    lake: Lake, place: str, proxy: FaultProxy, table: Path
) -> None:
    """Trap Object stores 5."""
    proxy.rules.append(Rule("status", code=403, path=r"part-.*parquet", skip=3, times=None))
    with pytest.raises(Transfer, match="access was refused"):
        sync(lake, str(table), place)
    there = len([path for path in contents(lake.store(place.replace("faulty:", "direct:"))) if path.endswith(".parquet")])
    assert there == 3
    proxy.clear()
    result = sync(lake, str(table), place)
    assert result.kept.files == there
    assert contents(lake.store(place)) == contents(lake.store(str(table)))


def test_nothing_new_takes_four_requests_on_the_wire(lake: Lake, place: str, proxy: FaultProxy, key: str, table: Path) -> None:
    sync(lake, str(table), place)
    sync(lake, place, f"faulty:{key}/second")
    proxy.clear()
    assert sync(lake, place, f"faulty:{key}/second").unchanged
    assert len(proxy.requests) <= 4, proxy.requests
    assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}
